"""Training images and episodes, drawn on the training device from a data set that lives there."""

from __future__ import annotations

import torch
from torch import Tensor

from edge_adapt.runtime.dataset import ImageDataset


class ImageSampler:
    """Holds a whole data set as one uint8 tensor and draws from it without leaving the device.

    Args:
        dataset: the images.
        device: where the images live and the drawing happens.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device) -> None:
        self.dataset = dataset
        self.images = torch.from_numpy(dataset.images).to(device)  # [I, H, W, C]
        self.n_classes = len(dataset.class_names)
        self.starts = torch.from_numpy(dataset.starts[:-1]).to(device)  # [classes]
        counts = torch.from_numpy(dataset.counts).to(device)
        self._missing = torch.arange(int(counts.max()), device=device) >= counts.unsqueeze(
            1
        )  # [classes, largest class]

    def draw_episodes(self, episodes: int, n_way: int, per_class: int, generator: torch.Generator) -> Tensor:
        """Draw episodes: classes without replacement, and images of each without replacement.

        Returns:
            uint8 [episodes, n_way, per_class, H, W, C]; the caller splits `per_class` into support and query.
        """
        device = self.images.device
        keys = torch.rand(episodes, len(self.starts), generator=generator, device=device)
        classes = keys.topk(n_way, dim=1).indices  # [E, N]
        keys = torch.rand(episodes, n_way, self._missing.shape[1], generator=generator, device=device)
        members = keys.masked_fill(self._missing[classes], -1).topk(per_class, dim=2).indices  # [E, N, per_class]
        return self.images[self.starts[classes].unsqueeze(-1) + members]

    def draw_images(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw images from all classes, each image as likely as any other.

        Returns:
            uint8 [count, H, W, C] and their classes, int64 [count].
        """
        chosen = torch.randint(len(self.images), (count,), generator=generator, device=self.images.device)
        return self.images[chosen], torch.searchsorted(self.starts, chosen, right=True) - 1


def labels_of(n_way: int, per_class: int, device: torch.device) -> Tensor:
    """int64 [n_way * per_class]: 0 repeated `per_class` times, then 1, and so on, as `draw_episodes` lays images out."""
    return torch.arange(n_way, device=device).repeat_interleave(per_class)
