"""A finished classifier of the training classes, whose answers a student learns to give."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from edge_adapt.backbones.layers import classified
from edge_adapt.building import build_learner
from edge_adapt.frozen_features import digest_of_state
from edge_adapt.methods.classify import CosineClassifier
from edge_adapt.run import Checkpoint, misfit
from edge_adapt.runtime.errors import EdgeAdaptError


def digest_of_teacher(checkpoint: Checkpoint | None) -> str:
    """SHA-256 of what a teacher has learned, hexadecimal; empty for none."""
    return digest_of_state({**checkpoint.learner, **checkpoint.objective}) if checkpoint else ""


class Teacher(nn.Module):
    """A finished run of `classify` on the same classes, whose answers a student learns to give.

    Args:
        checkpoint: its end.
        device: where the student trains.

    Attributes:
        config: what it was trained with.

    Raises:
        EdgeAdaptError: it is of another method, of a backbone that has no name, or of another edge-adapt.
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        super().__init__()
        config, state, weight = checkpoint.config, checkpoint.learner, checkpoint.objective.get("classifier.weight")
        if config.method != "classify" or weight is None:
            raise EdgeAdaptError(f"a teacher is a run of the method classify, and this is one of {config.method}.")
        self.config = replace(config, pretrained=False)  # no need to fetch what the checkpoint holds
        learner = build_learner(self.config, state["embedding.mean"], state["embedding.std"])
        try:
            learner.load_state_dict(dict(state))
        except RuntimeError as error:
            raise misfit("the teacher", config, None) from error
        self.embedding = learner.embedding
        self.classifier = CosineClassifier(*weight.shape)
        self.classifier.load_state_dict(
            {name.removeprefix("classifier."): tensor for name, tensor in checkpoint.objective.items()}
        )
        self.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Pixels in 0..255, uint8 or float [B, H, W, C], to logits [B, n_classes]."""
        normalized = self.embedding.normalize(images).contiguous(memory_format=torch.channels_last)
        backbone = self.embedding.backbone
        logits: Tensor = self.classifier(classified(backbone, backbone(normalized)))
        return logits
