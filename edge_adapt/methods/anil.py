"""ANIL: the inner loop adapts the last layer alone, in meta-training as on the device.

Raghu et al., "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML", ICLR 2020,
https://arxiv.org/abs/1909.09157: MAML's inner loop hardly changes the features, so leave them alone. The outer loop learns the
backbone, the head's initialization and its rates, through the gradient steps on the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_adapt.methods.method import GradientMethod


@dataclass(frozen=True)
class ANIL(GradientMethod):
    """Gradient steps on the last layer, differentiated through."""

    name: ClassVar[str] = "anil"
    summary: ClassVar[str] = "gradient steps on the last layer, as on the device"
