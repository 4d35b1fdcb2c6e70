"""A gradient head in PyTorch with the numbers of a support set."""

from __future__ import annotations

import torch

from edge_adapt.networks.gradient_head import GradientHead
from tests.support_sets import SupportSet


def head_of(support: SupportSet) -> GradientHead:
    """A float64 head."""
    head = GradientHead("zero" if support.scale is None else "prototype", support.scale or 1.0).double()
    with torch.no_grad():
        head.log_scale.copy_(torch.tensor(support.scale or 1.0, dtype=torch.float64).log())
        head.log_pull.copy_(torch.tensor(support.pull, dtype=torch.float64).log())
    return head
