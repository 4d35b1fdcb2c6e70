"""Backbones: images to features, one in each file. Each takes float [B, C, H, W] and returns float [B, D]."""

from __future__ import annotations

import functools
from collections.abc import Callable

from torch import nn

from edge_adapt.networks.backbones.conv4 import Conv4, fuse
from edge_adapt.networks.backbones.edge import Edge
from edge_adapt.networks.backbones.layers import Normalization
from edge_adapt.networks.backbones.lite import Lite
from edge_adapt.networks.backbones.resnet12 import ResNet12

__all__ = ["BACKBONES", "PUBLISHED", "Conv4", "Edge", "Lite", "Normalization", "ResNet12", "fuse"]

BACKBONES: dict[str, Callable[[int, Normalization], nn.Module]] = {
    "conv4": Conv4,
    "edge": Edge,
    "lite0": Lite,
    "lite0-small": functools.partial(Lite, kept=12, width=384),
    "lite2": functools.partial(Lite, size=2),
    "resnet12": ResNet12,
}
"""By the name that `--backbone` takes: (channels, normalization) -> module."""

PUBLISHED = ("lite0", "lite0-small", "lite2")
"""Those whose weights were published, trained on photos and their mirror images."""
