"""Conv4, the small backbone of the few-shot literature."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.networks.backbones.fused_pooling import normalized_maxima
from edge_adapt.networks.backbones.layers import Normalization, Part, maxima, normalization_of


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, normalization, ReLU and 2x2 max-pooling, 64 channels each.

    The backbone of Vinyals et al., "Matching Networks", NeurIPS 2016, https://arxiv.org/abs/1606.04080, and of most few-shot
    papers since.

    Images of 28x28 leave one position, and 64 features. Of larger ones papers take all positions, 1600 numbers at 84x84; here
    these are averaged over overlapping quarters of a drawing, and over the upper and the lower half of a photo, which shows the
    same when it is mirrored. Beside them stands what the blocks below see: the means and maxima of the third, the maxima of the
    second. Nearest prototype on mini-ImageNet's validation classes, 5-way 1-shot and 5-shot, after classification:

    - all positions 46.8 and 63.9%, quarters 50.1 and 66.3;
    - later in training quarters 54.5 and 72.5, with the blocks below 55.6 and 73.7, halves with the blocks below 56.3 and 73.8.

    Args:
        channels: of the images, 1 or 3.
        normalization: `batch` for methods whose inner loop leaves the backbone alone: running statistics at evaluation, folded
            into the convolutions at export. `group` under an all-layer inner loop, where running statistics fall to chance
            (Bronskill et al., "TaskNorm", ICML 2020, https://arxiv.org/abs/2003.03284).
        width: channels of a map.
        fused: compute a block as one where it trains on a CPU; see `edge_adapt.networks.backbones.fused_pooling`.
    """

    def __init__(
        self, channels: int, normalization: Normalization = "batch", width: int = 64, fused: bool = False
    ) -> None:
        super().__init__()
        self.width, self.fused = width, fused
        self.regions = (2, 1) if channels == 3 else (2, 2)
        self.parts = (Part(math.prod(self.regions) * width, 1.0), Part(width, 0.4), Part(width, 0.4), Part(width, 0.3))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels if block == 0 else width, width, 3, padding=1, bias=False) for block in range(4)
        )
        self.normalizations = nn.ModuleList(normalization_of(normalization, width) for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 64] or, of 32x32 and more, [B, 320] with three channels and [B, 448] with one."""
        maps = [images]
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            maps.append(normalized_maxima(normalization, convolution(maps[-1]), self.fused))
        low, middle, last = maps[2:]
        if max(last.shape[2:]) == 1:
            return last.flatten(1)
        return torch.cat(
            [_means(last, self.regions).flatten(1), middle.mean((2, 3)), maxima(middle), maxima(low)], dim=1
        )

    def regions_of(self, height: int, width: int) -> Tensor:
        """What the first part of the features takes of each position of the last map, [positions, regions]."""
        rows, columns = height // 16, width // 16
        positions = torch.eye(rows * columns).reshape(-1, 1, rows, columns)
        return (positions if rows == columns == 1 else _means(positions, self.regions)).flatten(1)

    def classified(self, features: Tensor) -> Tensor:
        """The mean over all positions, [B, 64].

        At 84x84 a classifier of each position's numbers learns where things lie in the pictures that it has seen, which cost new
        classes 3 to 4 points after one epoch.
        """
        last = features[:, : self.parts[0].size]
        return last.reshape(len(last), self.width, -1).mean(2)


def fuse(module: nn.Module, fused: bool) -> None:
    """Have the blocks of every `Conv4` inside a module computed as one, or not."""
    for inner in module.modules():
        if isinstance(inner, Conv4):
            inner.fused = fused


def _means(hidden: Tensor, regions: tuple[int, int]) -> Tensor:
    """Means over as many rows and columns of regions of a map, one or two each, which overlap where a side is odd."""
    half = [max(1, side // 2) for side in hidden.shape[2:]]
    whole = zip(hidden.shape[2:], half, regions, strict=True)
    return functional.avg_pool2d(hidden, [side if count == 1 else side - step for side, step, count in whole], half)
