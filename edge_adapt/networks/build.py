"""From a configuration to the untrained model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from edge_adapt.methods import METHODS
from edge_adapt.networks.backbones import BACKBONES, Lite, Normalization
from edge_adapt.networks.backbones.ensemble import BETWEEN, Joined
from edge_adapt.networks.backbones.layers import parts_of
from edge_adapt.networks.backbones.timm import PREFIX as TIMM
from edge_adapt.networks.backbones.timm import TimmBackbone
from edge_adapt.networks.learner import Centring, Embedding, MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.images import Preprocessing
from edge_adapt.training.config import TrainingConfig


def build_learner(
    config: TrainingConfig, mean: torch.Tensor, std: torch.Tensor, backbone: nn.Module | None = None
) -> MetaLearner:
    """The untrained model of a configuration; `backbone` is needed where the configuration says "custom"."""
    method = METHODS[config.method]
    if backbone is None:
        backbone = _backbone_by_name(config.backbone, config, "group" if method.inner_loop else "batch")
    if method.inner_loop and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()):
        raise EdgeAdaptError(
            f"{config.method} adapts all layers, and under that the running statistics of BatchNorm fall to chance; "
            "use a backbone with GroupNorm, or the method anil."
        )
    if method.inner_loop and config.centred:
        raise EdgeAdaptError(
            f"{config.method} adapts all layers and takes the features as they are; leave out centred."
        )
    size = feature_size(backbone, config.preprocessing)
    for crop_size in sorted({*config.crop_sizes} - {config.image_size}):
        of_crops = feature_size(backbone, replace(config.preprocessing, height=crop_size, width=crop_size))
        if of_crops != size:
            raise EdgeAdaptError(
                f"the backbone gives {of_crops} features of crops of {crop_size} pixels and {size} of images of "
                f"{config.image_size}; choose a crop size nearer to the image size."
            )
    centring = Centring(size) if config.centred else None
    if not centring:
        size = parts_of(backbone, size)[0].size
    if getattr(backbone, "pixel_mean", None) is not None:  # pretrained weights know pixels normalized in one way
        mean, std = torch.tensor(backbone.pixel_mean), torch.tensor(backbone.pixel_std)
    inner_loop = method.inner_loop(config, backbone) if method.inner_loop else None
    return MetaLearner(Embedding(backbone, mean, std, centring), method.head(config, size), inner_loop)


def _backbone_by_name(name: str, config: TrainingConfig, normalization: Normalization) -> nn.Module:
    channels = config.preprocessing.channels
    if BETWEEN in name:
        members = [_backbone_by_name(member, config, normalization) for member in name.split(BETWEEN)]
        return Joined(members, [feature_size(member, config.preprocessing) for member in members], channels)
    if name.startswith(TIMM):
        return TimmBackbone(name.removeprefix(TIMM), channels, config.pretrained)
    if name not in BACKBONES:
        known = ", ".join(BACKBONES)
        raise EdgeAdaptError(
            f"{name!r} is not a backbone known by name ({known}, {TIMM}NAME); pass the module itself as backbone."
        )
    backbone = BACKBONES[name](channels, normalization)
    if config.pretrained and isinstance(backbone, Lite):
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
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
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
