"""Backbones by their names, and how many features they give."""

from __future__ import annotations

import torch
from torch import nn

from edge_adapt.networks.backbones import BACKBONES, Lite, Normalization
from edge_adapt.networks.backbones.ensemble import BETWEEN, Joined
from edge_adapt.networks.backbones.timm import PREFIX as TIMM
from edge_adapt.networks.backbones.timm import TimmBackbone
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.words import first_line


def build_backbone(
    name: str, preprocessing: Preprocessing, normalization: Normalization, pretrained: bool = False
) -> nn.Module:
    """The backbone of a name, for images of this size and these channels.

    Args:
        name: of `BACKBONES`, `timm:NAME`, or several of them as one, separated by `BETWEEN`.
        preprocessing: the images.
        normalization: of its maps.
        pretrained: with published weights.

    Raises:
        EdgeAdaptError: there is none of this name, or no weights for it.
    """
    channels = preprocessing.channels
    if BETWEEN in name:
        members = [build_backbone(member, preprocessing, normalization, pretrained) for member in name.split(BETWEEN)]
        return Joined(members, [feature_size(member, preprocessing) for member in members], channels)
    if name.startswith(TIMM):
        return TimmBackbone(name.removeprefix(TIMM), channels, pretrained)
    if name not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise EdgeAdaptError(
            f"{name!r} is not a backbone known by name ({known}, {TIMM}NAME); pass the module itself as backbone."
        )
    backbone = BACKBONES[name](channels, normalization)
    if pretrained and isinstance(backbone, Lite):
        backbone.load_published()
    return backbone


@torch.no_grad()
def feature_size(backbone: nn.Module, preprocessing: Preprocessing) -> int:
    """D: tries the backbone on two blank images, and leaves it in training mode.

    Raises:
        EdgeAdaptError: it fails on images of this size, or does not give one vector an image.
    """
    size = (preprocessing.height, preprocessing.width, preprocessing.channels)
    name = type(backbone).__name__
    device = next((parameter.device for parameter in backbone.parameters()), torch.device("cpu"))
    try:
        features = backbone.eval()(torch.zeros(2, size[2], *size[:2], device=device))
    except Exception as error:  # whatever a module raises
        reason = first_line(error)
        raise EdgeAdaptError(
            f"the backbone {name} fails on images of {size} (H, W, C) ({reason}); choose another image size or crop size."
        ) from error
    backbone.train()
    if features.dim() != 2 or len(features) != 2:
        raise EdgeAdaptError(
            f"the backbone {name} gives {list(features.shape)} for 2 images where [2, D] is needed; "
            "let it end in one vector an image."
        )
    return int(features.shape[1])
