"""MAML: the inner loop adapts every layer, and the outer loop differentiates through it.

Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017, https://arxiv.org/abs/1703.03400. Its
first-order form, FOMAML, takes the inner gradients for constants: the outer gradient is the gradient at the adapted weights.

One learned rate for each tensor, and, as settings, what Antoniou et al. added in MAML++ ("How to train your MAML", ICLR 2019,
https://arxiv.org/abs/1810.09502): a rate for each tensor and step, and a loss after each step. Their cosine schedule of the outer
learning rate is that of all methods here. Their batch statistics of each step are not taken: no answer here depends on the
queries beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from edge_adapt.meta.adaptation import Rates
from edge_adapt.methods.method import GradientMethod
from edge_adapt.methods.objective import Episodic, Objective, TrainingData
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.networks.learner import MetaLearner


@dataclass(frozen=True)
class AllLayers(GradientMethod):
    """A method whose outer loop minimizes the query loss of an inner loop on all layers.

    Attributes:
        multi_step_loss: count the query loss after every inner step at first, and less and less so.
    """

    adapts_all_layers: ClassVar[bool] = True

    multi_step_loss: bool = False

    @property
    def rates(self) -> Rates:
        """How many inner learning rates are learned."""
        return "tensor"

    def inner_loop(self, backbone: nn.Module) -> InnerLoop:
        """Of the first order."""
        return InnerLoop(backbone, self.rates, self.steps, first_order=True)

    def objective(self, learner: MetaLearner, data: TrainingData) -> Objective:
        """See `Episodic`."""
        return Episodic(data, self.steps, self.multi_step_loss)


@dataclass(frozen=True)
class SecondOrder(AllLayers):
    """One that may differentiate through the inner gradients.

    Attributes:
        first_order: take them as constants.
        recompute: compute the inner steps again in the backward pass, to save memory.
    """

    first_order: bool = False
    recompute: bool = False

    def inner_loop(self, backbone: nn.Module) -> InnerLoop:
        """Of either order."""
        return InnerLoop(backbone, self.rates, self.steps, self.first_order, self.recompute)


@dataclass(frozen=True)
class TensorRates(AllLayers):
    """One that learns a rate for each tensor.

    Attributes:
        per_step_rates: a rate for each tensor and step, in place of one a tensor.
    """

    per_step_rates: bool = False

    @property
    def rates(self) -> Rates:
        """A tensor's, or a tensor's of each step."""
        return "step" if self.per_step_rates else "tensor"


@dataclass(frozen=True)
class MAML(TensorRates, SecondOrder):
    """Gradient steps on all layers."""

    name: ClassVar[str] = "maml"
    summary: ClassVar[str] = "gradient steps on all layers, differentiated through"


@dataclass(frozen=True)
class FOMAML(TensorRates):
    """MAML whose inner gradients are constants."""

    name: ClassVar[str] = "fomaml"
    summary: ClassVar[str] = "maml whose inner gradients are constants"
