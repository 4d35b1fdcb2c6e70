"""ResNet-12, the large backbone of the few-shot literature."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.networks.backbones.layers import Convolution, Normalization, normalization_of

WIDTHS = (64, 160, 320, 640)


class ResNet12(nn.Module):
    """Four residual blocks of three 3x3 convolutions, each followed by 2x2 max-pooling; global average pooling at the end.

    Widths and leaky ReLU as in Lee et al., "MetaOptNet", CVPR 2019, https://arxiv.org/abs/1904.03758, and in UNICORN-MAML (Ye and
    Chao, ICLR 2022, https://arxiv.org/abs/2106.16245); without their DropBlock.

    Args:
        channels: of the images, 1 or 3.
        normalization: see `Normalization`.
    """

    def __init__(self, channels: int, normalization: Normalization = "batch") -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                _Block(before, width, normalization)
                for before, width in zip((channels, *WIDTHS[:-1]), WIDTHS, strict=True)
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 640]."""
        return self.blocks(images).mean((2, 3))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, channels: int, width: int, normalization: Normalization) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            Convolution(channels if index == 0 else width, width, normalization, activate=False) for index in range(3)
        )
        self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), normalization_of(normalization, width))

    def forward(self, images: Tensor) -> Tensor:
        first, second, third = self.convolutions
        hidden = functional.leaky_relu(first(images), 0.1, inplace=True)
        hidden = functional.leaky_relu(second(hidden), 0.1, inplace=True)
        hidden = functional.leaky_relu(third(hidden) + self.shortcut(images), 0.1, inplace=True)
        return functional.max_pool2d(hidden, 2)
