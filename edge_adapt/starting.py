"""What training starts from: statistics of the pixels, weights of another run, the centre of the features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from edge_adapt.backbones.layers import classified, parts_of
from edge_adapt.building import feature_size
from edge_adapt.configuration import TrainingConfig
from edge_adapt.learner import MetaLearner
from edge_adapt.outer_loop import Objective
from edge_adapt.run import Checkpoint
from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.evaluation import BATCH

CENTRING = "embedding.centring."
"""What the names of its weights begin with."""


def classified_features(backbone: nn.Module, config: TrainingConfig) -> int:
    """How many numbers a classifier of the training classes looks at.

    Raises:
        EdgeAdaptError: the backbone fails on crops of this size.
    """
    return classified(backbone, torch.zeros(1, feature_size(backbone, config.trained_on))).shape[1]


def pixel_statistics(data: ImageDataset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel in 0..1, float32 [C] each, over up to ten thousand images."""
    sample = data.images[:: max(1, len(data.images) // 10_000)]
    total = np.zeros(sample.shape[-1])
    squares = np.zeros(sample.shape[-1])
    for image in sample:  # one at a time: as floats they would take many times their memory
        pixels = image / 255
        total += pixels.sum(axis=(0, 1))
        squares += (pixels**2).sum(axis=(0, 1))
    count = sample[..., 0].size
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    if std.max() < 1e-6:
        raise DataError(f"{data.source}: all images are the same flat colour, and nothing can be learned from them.")
    # One channel may be flat where another is not.
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.clip(1 / 255).astype(np.float32))


def start_from(
    learner: MetaLearner,
    objective: Objective,
    initial: Checkpoint,
    new_head: bool,
    data: ImageDataset,
    device: torch.device,
) -> None:
    """Take over the weights of another run, and those of its classifier where it has one for the same classes.

    A head that is learned anew takes the embedding alone: it is of another kind, or the other run did not train its own, or it
    may have another number of steps. It is learned anew, too, where features that were not centred are from now on.
    """
    state = dict(initial.exported.learner)
    newly_centred = learner.embedding.centring is not None and not initial.config.centred
    own_parts = ("head.",) * (new_head or newly_centred) + (CENTRING,) * newly_centred
    if own_parts:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(own_parts)}
        state |= {name: tensor for name, tensor in learner.state_dict().items() if name.startswith(own_parts)}
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        raise EdgeAdaptError(
            f"the weights to start from are of the backbone {initial.config.backbone!r} with other settings; "
            "train with the same backbone, head, steps and image channels."
        ) from error
    if newly_centred:
        centre(learner, data, device)
    own = objective.state_dict()
    if own and {name: tensor.shape for name, tensor in own.items()} == {
        name: tensor.shape for name, tensor in initial.objective.items()
    }:
        objective.load_state_dict(initial.objective)


@torch.no_grad()
def centre(learner: MetaLearner, data: ImageDataset, device: torch.device) -> None:
    """Fit what centred features take from the training images, on up to ten thousand of them."""
    centring = learner.embedding.centring
    if centring is None:
        return
    learner.eval()
    step = max(1, len(data.images) // 10_000)
    sample = data.images[::step]
    features = []
    for start in range(0, len(sample), BATCH):
        images = torch.from_numpy(np.ascontiguousarray(sample[start : start + BATCH])).to(device)
        features.append(learner.embedding.backbone(learner.embedding.normalize(images)))
    together = torch.cat(features)
    labels = np.repeat(np.arange(len(data.class_names)), data.counts)[::step]
    parts = parts_of(learner.embedding.backbone, together.shape[1])
    centring.fit(together, torch.from_numpy(labels).to(device), parts)
    learner.train()
