"""A finished classifier of the training classes, whose answers a student learns to give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256

import torch
from torch import Tensor, nn

from edge_adapt.methods.distil import Distil
from edge_adapt.methods.feature_cache import digest_of_state
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.methods.pretrain import CosineClassifier, Pretrain
from edge_adapt.networks.backbones.layers import classified
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.build import build_learner
from edge_adapt.training.checkpoint import MISFITS, Checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import misfit
from edge_adapt.training.validation import digest_of_classes


def digest_of_teacher(teacher: Checkpoint | Sequence[FeatureTeacher] | None) -> str:
    """SHA-256 of what a teacher has learned, or several have, hexadecimal; empty for none."""
    if not teacher:
        return ""
    if isinstance(teacher, Checkpoint):
        return digest_of_state({**teacher.learner, **teacher.objective})
    return sha256("\n".join(each.digest for each in teacher).encode()).hexdigest()


def require_fitting_teacher(
    teacher: Checkpoint | Sequence[FeatureTeacher] | None, config: TrainingConfig, data: ImageDataset
) -> None:
    """Raise where a run has no use for a teacher, or lacks one.

    Args:
        teacher: what it is given.
        config: what it trains.
        data: the classes that it learns.

    Raises:
        EdgeAdaptError: says what to give.
    """
    method = config.method
    if isinstance(method, Distil):
        if isinstance(teacher, Checkpoint):
            raise EdgeAdaptError(
                "distil learns features, and this teacher is a run, which gives answers; give the bundle that it exports, or "
                "take the method pretrain."
            )
        if not teacher:
            raise EdgeAdaptError(
                "distil learns the features of a teacher, and there is none; give a bundle or an ONNX file with --teacher."
            )
    elif isinstance(teacher, Checkpoint):
        if not isinstance(method, Pretrain):
            raise EdgeAdaptError(f"a teacher is for the method pretrain, and this is {method.name}; leave it out.")
        theirs, ours = ("grey" if each.grayscale else "RGB" for each in (teacher.config, config))
        if theirs != ours:
            raise EdgeAdaptError(
                f"the teacher takes {theirs} images and these are {ours}; take one that was trained on the same."
            )
        digest = digest_of_classes(data, counts=False)
        if teacher.provenance.get("classes", digest) != digest:
            raise EdgeAdaptError(
                f"the teacher learned other classes ({teacher.trained_on or 'without a name'}); distil one that learned the same."
            )
        known, classes = len(teacher.objective.get("classifier.weight", data.class_names)), len(data.class_names)
        if known != classes:
            raise EdgeAdaptError(
                f"the teacher knows {known} classes and there are {classes} to learn; take one that was trained on the same."
            )
    elif teacher:
        raise EdgeAdaptError(
            f"a teacher of features is for the method distil, and this is {method.name}; leave it out, or take distil."
        )


class Teacher(nn.Module):
    """A finished run of `pretrain` on the same classes, whose answers a student learns to give.

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
        if not isinstance(config.method, Pretrain) or weight is None:
            raise EdgeAdaptError(f"a teacher is a run of the method pretrain, and this is one of {config.method.name}.")
        self.config = replace(config, pretrained=False)  # no need to fetch what the checkpoint holds
        try:
            learner = build_learner(self.config, state["embedding.mean"], state["embedding.std"])
            learner.load_state_dict(dict(state))
            self.classifier = CosineClassifier(*weight.shape)
            self.classifier.load_state_dict(
                {name.removeprefix("classifier."): tensor for name, tensor in checkpoint.objective.items()}
            )
        except MISFITS as error:
            raise misfit("the teacher", config, own=False) from error
        self.embedding = learner.embedding
        self.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Pixels in 0..255, uint8 or float [B, H, W, C], to logits [B, n_classes]."""
        normalized = self.embedding.normalize(images).contiguous(memory_format=torch.channels_last)
        backbone = self.embedding.backbone
        logits: Tensor = self.classifier(classified(backbone, backbone(normalized)))
        return logits
