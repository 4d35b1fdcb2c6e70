"""Siamese networks: learn whether two images are of the same class, and give a query the class that it matches best.

Koch et al., "Siamese Neural Networks for One-shot Image Recognition", ICML deep learning workshop 2015,
https://www.cs.cmu.edu/~rsalakhu/papers/oneshot1.pdf: two images are of the same class with the probability

    p = sigmoid(bias - sum_d weight_d |f_d - g_d|),

f and g their features from the same backbone, learned by cross-entropy on pairs, and a query takes the class of the most probable
pair. The weights are positive, which makes the sum a distance; the paper's may have any sign.

With several shots, a class has the mean of its pairs' logits. Where the paper draws pairs, a step here takes all those of a query
and a class in its episodes; one in N is of the same class, and so the two kinds are made to weigh as much as each other.

If exactly one class of N matches, and each pair is judged by itself, the softmax of the logits is the probability of each class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.heads.metric import siamese_graphs
from edge_adapt.methods.method import CENTRED_SCALE, Method
from edge_adapt.networks.head import Head, HeadState, class_shares, no_losses


class SiameseHead(Head):
    """Logits bias - (mean over the class's images of the weighted L1 distance).

    Args:
        feature_size: D.
        weight: of every feature before meta-training.
        bias: before meta-training: the distance, in nats, at which either answer is as likely.
    """

    def __init__(self, feature_size: int, weight: float, bias: float) -> None:
        super().__init__()
        self.log_weights = nn.Parameter(torch.full((feature_size,), math.log(weight)))
        self.bias = nn.Parameter(torch.tensor(bias))

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """The support set: weighted features [..., M, D], and the share of each image in each class [..., M, N]; see
        `Head.adapt`."""
        support = self.log_weights.exp() * features
        share = class_shares(labels, n_way, features.dtype)
        return {"support": support, "share": share}, no_losses(features)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [..., B, D] and the head state to logits [..., B, N]."""
        # Never holds the differences [..., B, M, D], which for 100 ways of 5 shots and 25 queries would be gigabytes.
        distances = torch.cdist(self.log_weights.exp() * features, state["support"], p=1)  # [..., B, M]
        return self.bias - distances @ state["share"]

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Binary cross-entropy in nats, scalar, over the pairs of query and class: half of it over pairs of the same class, half
        over the others. For logits [..., B, N] and query labels [..., B]."""
        same = functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)
        losses = functional.binary_cross_entropy_with_logits(logits, same, reduction="none")
        share = same + (1 - same) / (logits.shape[-1] - 1)
        return (share * losses).sum(-1).mean() / 2

    def graphs(self, feature_size: int) -> HeadGraphs:
        """See `Head.graphs`."""
        weights = self.log_weights.detach().exp().to("cpu", torch.float32).numpy()
        return siamese_graphs(weights, self.bias.item())


@dataclass(frozen=True)
class Siamese(Method):
    """A learned distance between two images."""

    name: ClassVar[str] = "siamese"
    summary: ClassVar[str] = "a learned distance between two images"

    def head(self, feature_size: int, centred: bool) -> Head:
        """Differences add up to the order of D where each is of the order of 1, and of the root of D in features of length 1."""
        extent = math.sqrt(feature_size) if centred else feature_size
        return SiameseHead(feature_size, CENTRED_SCALE / extent, CENTRED_SCALE / 2)
