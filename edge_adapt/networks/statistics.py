"""What a model takes from its training images before the first step, or after the last: statistics of pixels and of features."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edge_adapt.networks.backbones.layers import parts_of
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.networks.memory import in_parts_that_fit
from edge_adapt.runtime.contract import BATCH
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError


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


@torch.no_grad()
def centre(learner: MetaLearner, data: ImageDataset) -> None:
    """Fit what centred features take from the training images, on up to ten thousand of them."""
    centring = learner.embedding.centring
    if centring is None:
        return
    learner.eval()
    device = learner.embedding.mean.device
    step = max(1, len(data.images) // 10_000)
    sample = data.images[::step]

    def uncentred(images: Tensor) -> Tensor:
        features: Tensor = learner.embedding.backbone(learner.embedding.normalize(images))
        return features

    batches = (sample[start : start + BATCH] for start in range(0, len(sample), BATCH))
    together = torch.cat([in_parts_that_fit(uncentred, images, device) for images in batches])
    labels = np.repeat(np.arange(len(data.class_names)), data.counts)[::step]
    parts = parts_of(learner.embedding.backbone, together.shape[1])
    centring.fit(together, torch.from_numpy(labels).to(device), parts)
    learner.train()
