"""Meta-training episodes, drawn on the training device from a data set that lives there."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edge_adapt.runtime.dataset import ImageDataset


class EpisodeSampler:
    """Holds a whole data set as one uint8 tensor and draws episodes from it without leaving the device.

    Args:
        dataset: the images.
        device: where the images live and the drawing happens.
    """

    def __init__(self, dataset: ImageDataset, device: torch.device) -> None:
        self.images = torch.from_numpy(dataset.images).to(device)  # [I, H, W, C]
        self.starts = torch.from_numpy(dataset.starts[:-1]).to(device)  # [classes]
        counts = torch.from_numpy(dataset.counts).to(device)
        self._missing = torch.arange(int(counts.max()), device=device) >= counts.unsqueeze(
            1
        )  # [classes, largest class]

    def draw(self, episodes: int, n_way: int, per_class: int, generator: torch.Generator) -> Tensor:
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


def labels_of(n_way: int, per_class: int, device: torch.device) -> Tensor:
    """int64 [n_way * per_class]: 0 repeated `per_class` times, then 1, and so on, as `draw` lays images out."""
    return torch.arange(n_way, device=device).repeat_interleave(per_class)


def random_affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, slant and shift each image a little, as another hand or another camera would.

    One image in four stays as it is, so that the network also sees pixels that no interpolation has softened.

    Args:
        images: float [B, C, H, W].
        generator: on the images' device.
    """
    batch, device = len(images), images.device

    def uniform(limit: float) -> Tensor:
        return (2 * torch.rand(batch, generator=generator, device=device) - 1) * limit

    angle, slant = uniform(0.2), uniform(0.15)  # radians; shear
    scale_x, scale_y = uniform(0.12).exp(), uniform(0.12).exp()
    shift_x, shift_y = uniform(0.12), uniform(0.12)  # in half-widths of the image
    rows = torch.stack(
        [
            torch.stack([angle.cos() * scale_x, slant - angle.sin() * scale_y, shift_x], dim=-1),
            torch.stack([angle.sin() * scale_x, angle.cos() * scale_y, shift_y], dim=-1),
        ],
        dim=1,
    )  # [B, 2, 3]
    untouched = torch.rand(batch, generator=generator, device=device) < 0.25
    rows[untouched] = torch.eye(2, 3, device=device)
    with torch.autocast(device.type, enabled=False):  # in bfloat16 a grid is off by half a pixel in 256
        grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
