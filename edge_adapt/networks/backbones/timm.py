"""Backbones of the timm library by name: `timm:resnet18` and a thousand more."""

from __future__ import annotations

import difflib
import importlib
from types import ModuleType

from torch import Tensor, nn

from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError
from edge_adapt.runtime.words import first_line

PREFIX = "timm:"
"""What the name of such a backbone begins with."""


class TimmBackbone(nn.Module):
    """A network of timm without its classifier: pooled features, as timm gives them for `num_classes=0`.

    Args:
        name: of the network, such as `resnet18`, with or without the tag of its weights, such as `resnet18.a1_in1k`.
        channels: of the images, 1 or 3; timm adds up the weights of the first layer for images of one channel.
        pretrained: fetch pretrained weights, from the network or from where timm has put them before.

    Attributes:
        pixel_mean, pixel_std: of each channel in 0..1, with which pretrained weights want pixels normalized; None without.

    Raises:
        MissingDependencyError: timm is not installed, or cannot be imported.
        EdgeAdaptError: timm knows no such network, has no such weights, or cannot fetch them.
    """

    def __init__(self, name: str, channels: int, pretrained: bool = False) -> None:
        super().__init__()
        timm = _timm(name)
        if not timm.is_model(name.partition(".")[0]):
            close = difflib.get_close_matches(name, timm.list_models(), n=3)
            known = f" (close: {', '.join(close)})" if close else ""
            raise EdgeAdaptError(f"timm has no network {name!r}{known}; timm.list_models() names them all.")
        try:
            self.network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, in_chans=channels)
        except Exception as error:  # what the network's own code, the disk or the download raises
            reason = first_line(error)
            remedy = "check the network connection, or leave out pretrained" if pretrained else "choose another network"
            raise EdgeAdaptError(f"timm cannot build {name} ({reason}); {remedy}.") from error
        self.pixel_mean: tuple[float, ...] | None = None
        self.pixel_std: tuple[float, ...] | None = None
        if pretrained:
            self.pixel_mean, self.pixel_std = _pixel_statistics(self.network, channels)

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, D]."""
        features: Tensor = self.network(images)
        return features


def _timm(name: str) -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            f'the backbone {PREFIX}{name} needs {error.name}, which is not installed; `pip install "edge-adapt[timm]"` brings it.'
        ) from error
    except Exception as error:  # a torchvision built for another PyTorch raises whatever it stumbles over
        raise MissingDependencyError(
            f"timm cannot be imported ({first_line(error)}); install the torchvision that goes with this PyTorch."
        ) from error


def _pixel_statistics(network: nn.Module, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation that the weights were trained with; of one channel, their averages."""
    described = network.pretrained_cfg
    assert isinstance(described, dict)
    mean, std = tuple(map(float, described["mean"])), tuple(map(float, described["std"]))
    if len(mean) == channels:
        return mean, std
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels
