"""MAML: the inner loop adapts every layer, and the outer loop differentiates through it.

Finn et al., "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", ICML 2017, https://arxiv.org/abs/1703.03400. Its
first-order form, FOMAML, takes the inner gradients for constants: the outer gradient is the gradient at the adapted weights.

One learned rate for each tensor, and, as settings, what Antoniou et al. added in MAML++ ("How to train your MAML", ICLR 2019,
https://arxiv.org/abs/1810.09502): a rate for each tensor and step, a loss after each step, and a first part of the training of
first order. Their cosine schedule of the outer learning rate is that of all methods here. Their batch statistics of each step are
not taken: no answer here depends on the queries beside it.

The last layer starts from the prototypes of the support set, at rates in a unit of their own (see `InnerLoop`), where the papers
learn a last layer for a fixed number of classes; and the inner loss is averaged within each class first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from edge_adapt.meta.adaptation import Rates
from edge_adapt.methods.method import GradientMethod
from edge_adapt.methods.objective import Episodic, Objective, StepMetrics, TrainingData
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError


class Annealed(Episodic):
    """Query losses of first order for a first part of the training, and then of second order; see `Episodic`.

    Args:
        data, steps, multi_step_loss: of `Episodic`.
        first_order_share: of the training.
    """

    def __init__(self, data: TrainingData, steps: int, multi_step_loss: bool, first_order_share: float) -> None:
        super().__init__(data, steps, multi_step_loss)
        self._first_order_share = first_order_share

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        """See `Episodic.accumulate`."""
        loop, _ = learner.all_layers()
        loop.first_order = spent < self._first_order_share
        return super().accumulate(learner, count, share, spent)


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
    """Gradient steps on all layers.

    Attributes:
        first_order_share: of the training, from its beginning, that takes inner gradients as constants, 0 to 1; MAML++'s
            derivative-order annealing. It makes that part as fast as `FOMAML`, and starts the second order from weights that
            gradients neither explode nor vanish at.

    Raises:
        EdgeAdaptError: it is no share, or all of the training is of first order.
    """

    name: ClassVar[str] = "maml"
    summary: ClassVar[str] = "gradient steps on all layers, differentiated through"

    first_order_share: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.first_order_share < 1:
            raise EdgeAdaptError(
                f"first_order_share is {self.first_order_share}; take 0 or more and less than 1, or first_order for all of it."
            )
        if self.first_order and self.first_order_share:
            raise EdgeAdaptError("first_order is for all of the training; leave first_order_share out.")

    def objective(self, learner: MetaLearner, data: TrainingData) -> Objective:
        """See `Episodic`; `Annealed` where there is a first part."""
        if not self.first_order_share:
            return super().objective(learner, data)
        return Annealed(data, self.steps, self.multi_step_loss, self.first_order_share)


@dataclass(frozen=True)
class FOMAML(TensorRates):
    """MAML whose inner gradients are constants."""

    name: ClassVar[str] = "fomaml"
    summary: ClassVar[str] = "maml whose inner gradients are constants"
