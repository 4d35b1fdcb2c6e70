"""Matching networks: a query attends over the support set, and each class gets the attention that its images get.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016, https://arxiv.org/abs/1606.04080: their equation 1 with
the attention of section 2.1.1, a softmax over cosines, and without the full context embeddings of section 2.1.2. The temperature
of the softmax is learned: cosines alone differ by two at most, and so would the logits.

One thing differs. The paper adds up the attention of a class's images, so that a class of 20 images outweighs a class of one that
matches as well; here it is averaged. Where all classes have as many shots, as in the paper, the two are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.heads.metric import matching_graphs
from edge_adapt.methods.method import CENTRED_SCALE, Method
from edge_adapt.networks.head import Head, HeadState, class_shares, no_losses


class MatchingHead(Head):
    """The logit of a class is the logarithm of the attention that its images get on average.

    The attention is softmax(scale * cosine) over the support set. Its logarithm stops at that of the smallest normal float32.

    Args:
        scale: the inverse temperature before meta-training.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """The support set: features of length 1 [..., M, D], and the share of each image in each class [..., M, N]; see
        `Head.adapt`."""
        support = functional.normalize(features, dim=-1)
        share = class_shares(labels, n_way, features.dtype)
        return {"support": support, "share": share}, no_losses(features)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [..., B, D] and the head state to logits [..., B, N]."""
        cosines = functional.normalize(features, dim=-1) @ state["support"].transpose(-1, -2)
        attention = torch.softmax(self.log_scale.exp() * cosines, dim=-1)  # [..., B, M]
        return (attention @ state["share"]).clamp(min=torch.finfo(torch.float32).tiny).log()

    def graphs(self, feature_size: int) -> HeadGraphs:
        """See `Head.graphs`."""
        return matching_graphs(self.log_scale.exp().item(), feature_size)


@dataclass(frozen=True)
class Matching(Method):
    """Cosine attention over the support set."""

    name: ClassVar[str] = "matching"
    summary: ClassVar[str] = "cosine attention over the support set"

    def head(self, feature_size: int, centred: bool) -> Head:
        """See `Method.head`."""
        return MatchingHead(CENTRED_SCALE)
