"""Prototypical networks: a class is the mean of its support features, and a query belongs to the nearest.

Snell et al., "Prototypical Networks for Few-shot Learning", NeurIPS 2017, https://arxiv.org/abs/1703.05175: `adapt` is their
equation 1 and `predict` their equation 2, with the squared Euclidean distance. The scale of the distance, which they leave to the
backbone, is learned too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.heads.metric import protonet_graphs
from edge_adapt.methods.method import Method, distance_scale
from edge_adapt.networks.head import Head, HeadState, class_shares, no_losses


class ProtoNetHead(Head):
    """Logits -scale * |feature - prototype|^2, less the term -scale * |feature|^2 that all classes share and softmax cancels.

    Without that term no digits are lost where features are long and lie close together.

    Args:
        scale: before meta-training.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """The prototypes [..., N, D]; see `Head.adapt`."""
        share = class_shares(labels, n_way, features.dtype)  # [..., M, N]
        return {"prototypes": share.transpose(-1, -2) @ features}, no_losses(features)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [..., B, D] and the head state to logits [..., B, N]."""
        prototypes = state["prototypes"]
        products = features @ prototypes.transpose(-1, -2)  # [..., B, N]
        return self.log_scale.exp() * (2 * products - prototypes.square().sum(-1).unsqueeze(-2))

    def graphs(self, feature_size: int) -> HeadGraphs:
        """See `Head.graphs`."""
        return protonet_graphs(self.log_scale.exp().item(), feature_size)


@dataclass(frozen=True)
class ProtoNet(Method):
    """The nearest mean of a class's features."""

    name: ClassVar[str] = "protonet"
    summary: ClassVar[str] = "the nearest mean of a class's features"

    def head(self, feature_size: int, centred: bool) -> Head:
        """See `Method.head`."""
        return ProtoNetHead(distance_scale(feature_size, centred))
