"""Meta-SGD: MAML that learns a rate for every single number in the network.

Li et al., "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", 2017, https://arxiv.org/abs/1707.09835. The rates are
learned with the initialization and may be negative, so that the outer loop learns the direction of an inner step as well as its
length. The head has one rate a step for all classes alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_adapt.meta.adaptation import Rates
from edge_adapt.methods.maml import SecondOrder


@dataclass(frozen=True)
class MetaSGD(SecondOrder):
    """MAML with a learned rate for every weight."""

    name: ClassVar[str] = "meta-sgd"
    summary: ClassVar[str] = "maml with a learned rate for every weight"

    @property
    def rates(self) -> Rates:
        """A number's each."""
        return "element"
