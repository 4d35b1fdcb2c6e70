"""Matching networks: a query attends over the support set, and each class gets the attention that its images get.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016, https://arxiv.org/abs/1606.04080: their equation 1 with
the attention of section 2.1.1, a softmax over cosines; the full context embeddings of section 2.1.2 are a setting. The
temperature of the softmax is learned: cosines alone differ by two at most, and so would the logits.

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

from edge_adapt.export.heads.full_context import FullContextParameters, full_context_graphs
from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.heads.metric import matching_graphs
from edge_adapt.methods.method import CENTRED_SCALE, Method
from edge_adapt.networks.head import Head, HeadState, as_numpy, class_shares, no_losses

READINGS = 5
"""Steps of a query's LSTM with full context, K."""


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


class FullContextHead(MatchingHead):
    """Full context embeddings: each support image and each query is embedded in the light of the whole support set.

    With f' the features, a support image becomes, as section 2.1.2 and appendix A of the paper have it,

        g_i = f'_i + what an LSTM says of it that reads the support set forwards + what one says that reads it backwards

    and a query takes K steps of an LSTM that attends over these, from h_0 = r_0 = 0 on,

        h_k = f' + LSTM(f', [h_(k-1), r_(k-1)]),    r_k = sum_i softmax_i(h_k . g_i) g_i

    before h_K is compared with all g_i by cosine. A query sees no other query. Reading is in the order of the support set:
    so that of the classes has some influence, and permuted classes do not give permuted logits.

    Args:
        feature_size: D.
        scale: of the cosines before meta-training.
    """

    def __init__(self, feature_size: int, scale: float) -> None:
        super().__init__(scale)
        self.of_support = nn.LSTM(feature_size, feature_size, bidirectional=True, batch_first=True)
        self.of_query = nn.Linear(3 * feature_size, 4 * feature_size)  # f', h and r to the gates i, f, g and o

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """The support set in its own light [..., M, D], and the share of each image in each class [..., M, N]; see
        `Head.adapt`."""
        read, _ = self.of_support(features.flatten(0, -3) if features.ndim > 2 else features.unsqueeze(0))
        forwards, backwards = read.view(*features.shape[:-1], -1).chunk(2, dim=-1)
        support = features + forwards + backwards
        return {"support": support, "share": class_shares(labels, n_way, features.dtype)}, no_losses(features)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [..., B, D] and the head state to logits [..., B, N]."""
        support = state["support"]
        hidden, cell, found = torch.zeros_like(features), torch.zeros_like(features), torch.zeros_like(features)
        for _ in range(READINGS):
            gates = self.of_query(torch.cat([features, hidden, found], -1))
            enter, forget, new, leave = gates.chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
            hidden = features + leave.sigmoid() * cell.tanh()
            found = torch.softmax(hidden @ support.transpose(-1, -2), dim=-1) @ support
        compared = {"support": functional.normalize(support, dim=-1), "share": state["share"]}
        return super().predict(hidden, compared)

    @torch.no_grad()
    def graphs(self, feature_size: int) -> HeadGraphs:
        """See `Head.graphs`."""
        lstm = {name: as_numpy(parameter) for name, parameter in self.of_support.named_parameters()}
        parameters = FullContextParameters(
            lstm, as_numpy(self.of_query.weight), as_numpy(self.of_query.bias), self.log_scale.exp().item(), READINGS
        )
        return full_context_graphs(parameters)


@dataclass(frozen=True)
class Matching(Method):
    """Cosine attention over the support set.

    Attributes:
        full_context: embed support images and queries in the light of the whole support set, as section 2.1.2 of the paper does.
    """

    name: ClassVar[str] = "matching"
    summary: ClassVar[str] = "cosine attention over the support set"

    full_context: bool = False

    def head(self, feature_size: int, centred: bool) -> Head:
        """See `Method.head`."""
        return FullContextHead(feature_size, CENTRED_SCALE) if self.full_context else MatchingHead(CENTRED_SCALE)
