"""Several backbones side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edge_adapt.networks.backbones.layers import Part, classified, parts_of

BETWEEN = "+"
"""Between the names of the backbones, in the name of all of them."""

WEIGHT = 0.7
"""Of the features of the second and further backbones beside the first. On mini-ImageNet's validation classes `edge` with conv4
is as good with a half, and half a point worse with 1."""


class Joined(nn.Module):
    """Several backbones side by side, whose features lie one after another.

    Networks that were trained one by one err differently, the more so the more they differ, and features of both have more to
    tell new classes by than those of either (Dvornik et al., "Diversity with cooperation: ensemble methods for few-shot
    classification", ICCV 2019, https://arxiv.org/abs/1903.11341). A device spends the time of both.

    Args:
        members: float [B, C, H, W] -> float [B, D] each, the best first.
        sizes: D of each.
        channels: of the images.

    Attributes:
        scale, shift: float [members - 1, C, 1, 1]: what brings pixels that are normalized as the first member has learned to see
            them to how the others have, which may have been trained on images of other statistics.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, members: Sequence[nn.Module], sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.sizes = list(sizes)
        own = [parts_of(member, size) for member, size in zip(members, sizes, strict=True)]
        self.parts = (*own[0], *(Part(size, WEIGHT * weight) for parts in own[1:] for size, weight in parts))
        self.register_buffer("scale", torch.ones(len(members) - 1, channels, 1, 1))
        self.register_buffer("shift", torch.zeros(len(members) - 1, channels, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] to [B, D], the sum of the members' D."""
        seen = [images, *(images * scale + shift for scale, shift in zip(self.scale, self.shift, strict=True))]
        return torch.cat([member(own) for member, own in zip(self.members, seen, strict=True)], dim=1)

    def classified(self, features: Tensor) -> Tensor:
        """What each member would have classified."""
        own = torch.split(features, self.sizes, dim=1)
        return torch.cat([classified(member, part) for member, part in zip(self.members, own, strict=True)], dim=1)
