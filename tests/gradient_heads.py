"""A gradient head in PyTorch with the numbers of a support set."""

from __future__ import annotations

import torch

from edge_adapt.networks.gradient_head import GradientHead
from tests.support_sets import SupportSet


def head_of(support: SupportSet) -> GradientHead:
    """A float64 head, whose odds give the support set's rate, momentum and bias rate."""
    head = GradientHead("zero" if support.scale is None else "prototype", support.scale or 1.0).double()
    with torch.no_grad():
        for parameter, share in (
            (head.rate_odds, support.rate),
            (head.momentum_odds, support.momentum),
            (head.bias_rate_odds, support.bias_rate),
        ):
            parameter.copy_(torch.tensor(share, dtype=torch.float64).logit())
        head.log_scale.copy_(torch.tensor(support.scale or 1.0, dtype=torch.float64).log())
        head.log_pull.copy_(torch.tensor(support.pull, dtype=torch.float64).log())
    return head
