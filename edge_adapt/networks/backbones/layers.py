"""What the backbones are made of."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn
from torch.nn import functional

Normalization = Literal["batch", "group"]
"""`batch` for methods whose inner loop leaves the backbone alone: running statistics at evaluation, folded into the
convolutions at export. `group` under an all-layer inner loop, where running statistics fall to chance (Bronskill et al.,
"TaskNorm", ICML 2020, https://arxiv.org/abs/2003.03284)."""


class Part(NamedTuple):
    """Features that lie side by side and are of one kind, in a backbone that gives several kinds, the last layer's first.

    Together they are of use where `edge_adapt.networks.learner.Centring` brings each to a scale of its own; else the first
    stands alone.

    Attributes:
        size: how many.
        weight: of their differences from the mean, in length, beside those of the other parts.
    """

    size: int
    weight: float


def parts_of(backbone: nn.Module, feature_size: int) -> tuple[Part, ...]:
    """The parts of a backbone's D features: all one where it does not say, or gives fewer for images as small as these."""
    parts = getattr(backbone, "parts", ())
    said = isinstance(parts, tuple) and all(isinstance(part, Part) for part in parts)
    return parts if said and sum(part.size for part in parts) == feature_size else (Part(feature_size, 1.0),)


def last_layers(backbone: nn.Module, features: Tensor) -> Tensor:
    """Of a backbone's features [B, D] the first part, which stands alone where nothing brings the parts to one scale."""
    return features[:, : parts_of(backbone, features.shape[1])[0].size]


def maxima(hidden: Tensor) -> Tensor:
    """What a map sees anywhere, [B, C, H, W] to [B, C].

    Of layers below the last: the further a class is from those of training, the less the last layer's names fit it and the more
    its textures and colours tell (Yosinski et al., "How transferable are features in deep neural networks?", NeurIPS 2014,
    https://arxiv.org/abs/1411.1792).
    """
    # As a pooling layer: ONNX Runtime keeps its own layout through it, and 8 bits.
    return functional.max_pool2d(hidden, hidden.shape[2:]).flatten(1)


def classified(backbone: nn.Module, features: Tensor) -> Tensor:
    """Features [B, D] to what a classifier of the training classes looks at, [B, C]: all of them where the backbone does not say.

    What it looks at it shapes to name the training classes; new classes gain from features that are not quite so.
    """
    look = getattr(backbone, "classified", None)
    seen: Tensor = look(features) if look else features
    return seen


def normalization_of(kind: Normalization, width: int) -> nn.Module:
    """The normalization layer of `width` channels."""
    return nn.BatchNorm2d(width) if kind == "batch" else nn.GroupNorm(8, width)


class Convolution(nn.Module):
    """A 3x3 convolution without bias, its normalization, and ReLU unless told otherwise."""

    def __init__(
        self, channels: int, width: int, normalization: Normalization, stride: int = 1, activate: bool = True
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.normalization = normalization_of(normalization, width)
        self.activate = activate

    def forward(self, images: Tensor) -> Tensor:
        """[B, channels, H, W] to [B, width, H / stride, W / stride]."""
        hidden: Tensor = self.normalization(self.convolution(images))
        # In place: a third of the memory traffic of a small network on a CPU is its activations.
        return functional.relu(hidden, inplace=True) if self.activate else hidden
