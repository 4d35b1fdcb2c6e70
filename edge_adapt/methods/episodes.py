"""Training images and episodes, drawn on the training device from a data set that lives there where it fits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edge_adapt.runtime.data.dataset import ImageDataset

MEMORY_SHARE = 0.5
"""The part of a GPU's free memory that a data set may take; what is left is for training."""


@dataclass(frozen=True)
class EpisodeShape:
    """How many classes an episode has, and how many support and query images each."""

    n_way: int
    n_shot: int
    n_query: int

    @property
    def images(self) -> int:
        """Of a class."""
        return self.n_shot + self.n_query


class EpisodeSampler:
    """Draws episodes from the rows of a tensor: images, or their features.

    Args:
        rows: of which those of a class lie side by side; on the device, or where there is no room for them, on the CPU.
        starts: int64 [classes + 1]; class c is rows[starts[c]:starts[c + 1]].
        device: where the drawing happens and what is drawn comes to lie.

    Attributes:
        counts: how many rows each class has, int64 [classes], on the device.
    """

    def __init__(self, rows: Tensor, starts: Tensor, device: torch.device) -> None:
        self.rows, self.starts = rows, starts[:-1].to(device)
        self.counts = starts.diff().to(device)
        numbers = torch.arange(int(self.counts.max()), device=device)
        self._missing = numbers >= self.counts.unsqueeze(1)  # [classes, largest class]

    def draw_episodes(self, episodes: int, n_way: int, per_class: int, generator: torch.Generator) -> Tensor:
        """Draw episodes: of the classes that have the rows, without replacement, and rows of each without replacement.

        Returns:
            [episodes, n_way, per_class, ...]; the caller splits `per_class` into support and query.
        """
        device = self.starts.device
        keys = torch.rand(episodes, len(self.starts), generator=generator, device=device)
        classes = keys.masked_fill(self.counts < per_class, -1).topk(n_way, dim=1).indices  # [E, N]
        keys = torch.rand(episodes, n_way, self._missing.shape[1], generator=generator, device=device)
        members = keys.masked_fill(self._missing[classes], -1).topk(per_class, dim=2).indices  # [E, N, per_class]
        return self._take(self.starts[classes].unsqueeze(-1) + members)

    def _take(self, chosen: Tensor) -> Tensor:
        """The rows of these numbers, int64 [...], on the device."""
        return self.rows[chosen.to(self.rows.device)].to(chosen.device, non_blocking=True)


class ImageSampler(EpisodeSampler):
    """Holds a whole data set as one uint8 tensor [I, H, W, C] and draws from it.

    The images live on the device, or, where they are too many for it, stay where they are and only those drawn are copied: the
    same ones.

    Args:
        dataset: the images.
        device: where the drawing happens and what is drawn comes to lie.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device) -> None:
        images = torch.from_numpy(dataset.images)
        super().__init__(
            images.to(device) if fits(dataset, device) else images, torch.from_numpy(dataset.starts), device
        )
        self.dataset, self.n_classes = dataset, len(dataset.class_names)

    def draw_images(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw images from all classes, each image as likely as any other.

        Returns:
            uint8 [count, H, W, C] and their classes, int64 [count].
        """
        return self.at(self.draw_positions(count, generator))

    def draw_positions(self, count: int, generator: torch.Generator) -> Tensor:
        """What `draw_images` draws: where the images are in the data set, int64 [count]."""
        return torch.randint(len(self.rows), (count,), generator=generator, device=self.starts.device)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The images at these positions, int64 [count], and their classes, as `draw_images` gives them."""
        return self._take(positions), torch.searchsorted(self.starts, positions, right=True) - 1


def fits(dataset: ImageDataset, device: torch.device) -> bool:
    """Whether the images may live on a device: on a GPU, in `MEMORY_SHARE` of what is free; a CPU has them already."""
    return device.type == "cpu" or dataset.images.nbytes <= MEMORY_SHARE * torch.cuda.mem_get_info(device)[0]


def labels_of(n_way: int, per_class: int, device: torch.device) -> Tensor:
    """int64 [n_way * per_class]: 0 repeated `per_class` times, then 1, and so on, as `draw_episodes` lays images out."""
    return torch.arange(n_way, device=device).repeat_interleave(per_class)
