"""EfficientNet-Lite: the backbone that starts from what ImageNet's thousand classes teach."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.backbones.layers import Normalization, normalization_of


class _Stage(NamedTuple):
    """Blocks of one width in a row, of which the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_STEM, _LAST, _CLASSES = 32, 1280, 1000
_EPSILON, _MOMENTUM = 1e-3, 0.01


class Lite(nn.Module):
    """EfficientNet-Lite in any of its sizes: inverted residual blocks with ReLU6 and without squeeze-and-excitation.

    Tan and Le, "EfficientNet", ICML 2019, https://arxiv.org/abs/1905.11946, in the form for small devices of R. Liu, "Higher
    accuracy on vision models with EfficientNet-Lite", 2020; blocks after Sandler et al., "MobileNetV2", CVPR 2018,
    https://arxiv.org/abs/1801.04381. Takes images of any size from 32 pixels a side.

    Args:
        channels: of the images, 1 or 3.
        normalization: see `Normalization`.
        width, depth: factors of the widths and of the numbers of blocks; 1 and 1 make Lite0, 1.1 and 1.2 Lite2.
    """

    def __init__(
        self, channels: int, normalization: Normalization = "batch", width: float = 1.0, depth: float = 1.0
    ) -> None:
        super().__init__()
        self.stem = _Layer(channels, _STEM, 3, normalization, stride=2)
        self.blocks = nn.ModuleList()
        before = _STEM
        for number, stage in enumerate(_STAGES):
            after = _rounded(stage.width * width)
            repeats = stage.blocks if number in (0, len(_STAGES) - 1) else math.ceil(stage.blocks * depth)
            for block in range(repeats):
                stride = stage.stride if block == 0 else 1
                self.blocks.append(_Block(before, after, stage.kernel, stride, stage.expansion, normalization))
                before = after
        self.last = _Layer(before, _LAST, 1, normalization)

    def maps(self, images: Tensor) -> list[Tensor]:
        """[B, C, H, W] to the map after each block, and the last layer's."""
        maps = [self.stem(images)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return [*maps[1:], self.last(maps[-1])]

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 1280]."""
        return self.maps(images)[-1].mean((2, 3))


class _Layer(nn.Module):
    """A convolution without bias that pads as TensorFlow does ("SAME"), its normalization, and ReLU6 unless told otherwise."""

    def __init__(
        self,
        channels: int,
        width: int,
        kernel: int,
        normalization: Normalization,
        stride: int = 1,
        groups: int = 1,
        activate: bool = True,
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, kernel, stride, groups=groups, bias=False)
        self.normalization = normalization_of(normalization, width)
        if isinstance(self.normalization, nn.BatchNorm2d):
            self.normalization.eps, self.normalization.momentum = _EPSILON, _MOMENTUM
        self.activate = activate

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, ceil(H / stride), ceil(W / stride)]."""
        kernel, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        margins = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in images.shape[2:]]
        if any(margins):  # an odd pixel lies at the right and at the bottom
            down, across = margins
            images = functional.pad(images, (across // 2, across - across // 2, down // 2, down - down // 2))
        hidden: Tensor = self.normalization(self.convolution(images))
        return functional.relu6(hidden, inplace=True) if self.activate else hidden


class _Block(nn.Module):
    """Expand, look around each channel by itself, and project; added to what came in where that has the same shape."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int, expansion: int, normalization: Normalization
    ) -> None:
        super().__init__()
        inner = before * expansion
        self.expand = _Layer(before, inner, 1, normalization) if expansion > 1 else nn.Identity()
        self.look = _Layer(inner, inner, kernel, normalization, stride, groups=inner)
        self.project = _Layer(inner, after, 1, normalization, activate=False)
        self.residual = stride == 1 and before == after

    def forward(self, hidden: Tensor) -> Tensor:
        projected: Tensor = self.project(self.look(self.expand(hidden)))
        return hidden + projected if self.residual else projected


def _rounded(width: float) -> int:
    """To a multiple of 8, and not below nine tenths of it."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8
