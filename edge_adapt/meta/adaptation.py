"""How a module adapts: the settings of the inner loop, and of what the outer loop makes of it.

Which settings make which method:

| method | `Adaptation` | paper |
|---|---|---|
| MAML | `steps`, `rate` | Finn et al., ICML 2017, https://arxiv.org/abs/1703.03400 |
| FOMAML | `meta_gradient="first-order"` | the same, section 5.2 |
| Reptile | `meta_gradient="reptile"` | Nichol et al., 2018, https://arxiv.org/abs/1803.02999 |
| ANIL | `adapts="head.*"`, or what the last layer is called | Raghu et al., ICLR 2020, https://arxiv.org/abs/1909.09157 |
| Meta-SGD | `learned_rates="element"` | Li et al., 2017, https://arxiv.org/abs/1707.09835 |
| MAML++, its rates | `learned_rates="step"` | Antoniou et al., ICLR 2019, https://arxiv.org/abs/1810.09502 |
| LSTM | `learned_rates="lstm", meta_gradient="first-order"` | Ravi and Larochelle, ICLR 2017, `edge_adapt.meta.lstm_optimizer` |
| joint training | `steps=0` | what meta-learning is compared with |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from edge_adapt.meta.lstm_optimizer import LSTMOptimizer
from edge_adapt.runtime.errors import EdgeAdaptError

Rates = Literal["tensor", "step", "element"]
"""How many inner learning rates are learned: one a tensor; one a tensor and step; or one a number in it, of any sign."""

LearnedSteps = Literal["tensor", "step", "element", "lstm"]
"""`Rates`, or the gates of an LSTM that sees gradient and loss: see `edge_adapt.meta.lstm_optimizer`."""

MetaGradient = Literal["second-order", "first-order", "reptile"]
"""What the outer loop follows: the gradient of the query loss through the inner steps; the same with the inner gradients as
constants; or the way back to the initialization from where the steps lead."""


@dataclass(frozen=True)
class Adaptation:
    """How a module adapts to a task, and what the outer loop makes of it: together, the method.

    Attributes:
        steps: of the inner loop; 0 is joint training on all tasks.
        rate: the inner learning rate; what learned ones start from.
        learned_rates: how many of them the outer loop learns, "tensor", "step" or "element"; None leaves all at `rate`. Steps
            beyond those trained reuse the last. With "lstm" an LSTM says at each step how far each number goes, and how much of
            it is kept.
        meta_gradient: what the outer loop follows, "second-order", "first-order" or "reptile". Reptile has no query set: its
            steps in training take support and query in turn.
        adapts: which parameters, as a shell pattern of their names. The outer loop learns the others too, but for Reptile's.

    Raises:
        EdgeAdaptError: a setting that cannot be, or two that exclude each other.
    """

    steps: int = 1
    rate: float = 0.01
    learned_rates: LearnedSteps | None = None
    meta_gradient: MetaGradient = "second-order"
    adapts: str = "*"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise EdgeAdaptError(f"steps is {self.steps}; take 0 or more.")
        if not 0 < self.rate < float("inf"):
            raise EdgeAdaptError(f"rate is {self.rate}; take a number above 0.")
        if self.learned_rates is not None and self.learned_rates not in get_args(LearnedSteps):
            raise EdgeAdaptError(
                f"learned_rates is {self.learned_rates!r}; choose one of {', '.join(get_args(LearnedSteps))}."
            )
        if self.meta_gradient not in get_args(MetaGradient):
            known = ", ".join(get_args(MetaGradient))
            raise EdgeAdaptError(f"meta_gradient is {self.meta_gradient!r}; choose one of {known}.")
        if self.meta_gradient == "reptile" and self.learned_rates:
            raise EdgeAdaptError("learned_rates is not for reptile, whose way back teaches no rates; leave it out.")
        if self.learned_rates == "lstm" and self.rate >= 1:
            raise EdgeAdaptError(f"rate is {self.rate}, and the gate of an LSTM is below 1; take a smaller one.")
        if self.meta_gradient == "reptile" and not self.steps:
            raise EdgeAdaptError("steps is 0, and reptile is its steps; take 1 or more.")

    def adapted_names(self, module: nn.Module) -> tuple[str, ...]:
        """Which parameters the inner loop adapts: of those that require gradients, the ones that `adapts` fits.

        Raises:
            EdgeAdaptError: there are none.
        """
        names = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
        adapted = tuple(name for name in names if fnmatchcase(name, self.adapts))
        if not adapted:
            there = ", ".join(names) or "none"
            raise EdgeAdaptError(
                f"adapts is {self.adapts!r}, which fits no parameter that requires gradients; there are {there}."
            )
        return adapted

    def initial_rates(self, module: nn.Module) -> StepRates | LSTMOptimizer:
        """The rates before any is learned."""
        if self.learned_rates == "lstm":
            names = self.adapted_names(module)
            return LSTMOptimizer(names, self.rate).to(module.get_parameter(names[0])).requires_grad_(False)
        shapes = {name: module.get_parameter(name) for name in self.adapted_names(module)}
        if self.learned_rates == "element":
            return ({name: torch.full_like(tensor, self.rate, requires_grad=False) for name, tensor in shapes.items()},)
        own = max(self.steps, 1) if self.learned_rates == "step" else 1
        return tuple({name: tensor.new_full((), self.rate) for name, tensor in shapes.items()} for _ in range(own))


StepRates = Sequence[Mapping[str, Tensor]]
"""The rates of the inner steps, of each tensor that is adapted a scalar or one of its shape. Further steps reuse the last."""
