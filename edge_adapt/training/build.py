"""From a configuration to the untrained model."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from edge_adapt.networks.backbones import Normalization
from edge_adapt.networks.backbones.layers import parts_of
from edge_adapt.networks.build import build_backbone, feature_size
from edge_adapt.networks.learner import Centring, Embedding, MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.config import TrainingConfig


def build_learner(
    config: TrainingConfig, mean: torch.Tensor, std: torch.Tensor, backbone: nn.Module | None = None
) -> MetaLearner:
    """The untrained model of a configuration; `backbone` is needed where the configuration says "custom"."""
    method = config.method
    if backbone is None:
        normalization: Normalization = "group" if method.adapts_all_layers else "batch"
        backbone = build_backbone(config.backbone, config.preprocessing, normalization, config.pretrained)
    if method.adapts_all_layers and any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()
    ):
        raise EdgeAdaptError(
            f"{method.name} adapts all layers, and under that the running statistics of BatchNorm fall to chance; "
            "use a backbone with GroupNorm, or the method anil."
        )
    if method.adapts_all_layers and config.centred:
        raise EdgeAdaptError(f"{method.name} adapts all layers and takes the features as they are; leave out centred.")
    size = feature_size(backbone, config.preprocessing)
    for crop_size in sorted({*config.augmentation.crop_sizes} - {config.image_size}):
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
    head = method.head(size, bool(config.centred))
    return MetaLearner(Embedding(backbone, mean, std, centring), head, method.inner_loop(backbone))
