"""The heads of the metric-based methods, with learned numbers that are not those they start from."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edge_adapt.methods.matching import MatchingHead
from edge_adapt.methods.protonet import ProtoNetHead
from edge_adapt.methods.siamese import SiameseHead
from edge_adapt.networks.head import Head


def protonet(feature_size: int) -> ProtoNetHead:
    return ProtoNetHead(0.7)


def matching(feature_size: int) -> MatchingHead:
    return MatchingHead(9.0)


def siamese(feature_size: int) -> SiameseHead:
    """With a weight of its own for every feature."""
    head = SiameseHead(feature_size, 1.0, 1.3)
    with torch.no_grad():
        head.log_weights.copy_(torch.linspace(-1, 0.7, feature_size))
    return head


HEADS: dict[str, Callable[[int], Head]] = {"protonet": protonet, "matching": matching, "siamese": siamese}
"""By the name of the method: features of size D to its head, float32."""
