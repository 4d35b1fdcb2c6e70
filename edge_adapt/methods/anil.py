"""ANIL: the inner loop adapts the last layer alone, in meta-training as on the device.

Raghu et al., "Rapid Learning or Feature Reuse? Towards Understanding the Effectiveness of MAML", ICLR 2020,
https://arxiv.org/abs/1909.09157: MAML's inner loop hardly changes the features, so leave them alone.

The outer loop learns, through the inner loop on the head: the backbone; the scale of the prototypes that the head starts from;
and its pull back there. It learns no initialization of the head itself, which is the prototypes or zero, and no inner learning
rates. The paper learns the former for a fixed number of classes, and takes plain gradient steps at a given rate; the steps
here are those of `edge_adapt.networks.gradient_head`, whose length follows from the features.
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
