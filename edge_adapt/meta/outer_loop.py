"""The outer loop, of any module, any loss and any tasks: meta-training."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from edge_adapt.meta.adaptation import Adaptation, StepRates
from edge_adapt.meta.inner_loop import check, inner_loop, values
from edge_adapt.meta.learner import Learner
from edge_adapt.meta.lstm_optimizer import LSTMOptimizer
from edge_adapt.meta.tasks import TaskDistribution, Tasks
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.progress import Progress


@dataclass(frozen=True)
class OuterLoop:
    """How long and how fast to meta-train: Adam, whose learning rate falls to nothing as a cosine does.

    Attributes:
        iterations: outer steps.
        meta_batch: tasks in each.
        learning_rate: at the beginning.
        max_norm: what a longer gradient is brought down to; None leaves all as they are.
        seed: of the tasks, and of PyTorch's own generator meanwhile.

    Raises:
        EdgeAdaptError: a setting that cannot be.
    """

    iterations: int
    meta_batch: int = 25
    learning_rate: float = 0.001
    max_norm: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("iterations", "meta_batch"):
            if getattr(self, name) < 1:
                raise EdgeAdaptError(f"{name} is {getattr(self, name)}; take 1 or more.")
        for name in ("learning_rate", "max_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise EdgeAdaptError(f"{name} is {value}; take a number above 0.")


def meta_train(learner: Learner, tasks: TaskDistribution, outer_loop: OuterLoop, *, progress: bool = False) -> Learner:
    """Learn an initialization from which `learner.adaptation` does well, and its rates where it learns them.

    Args:
        learner: what to begin with; it stays as it is. One that was meta-trained already goes on.
        tasks: to learn on.
        outer_loop: how long and how fast.
        progress: show a bar.

    Returns:
        The learner with a module of its own, learned.

    Raises:
        EdgeAdaptError: the loss is no scalar, does not depend on the parameters, changes buffers of the module or is no longer
            finite; the tasks are of unequal shapes; or `adaptation` fits no parameter.
    """
    start = replace(learner, module=copy.deepcopy(learner.module))
    rates = LearnedRates(start.step_rates, learner.adaptation)
    parameters = [parameter for parameter in start.module.parameters() if parameter.requires_grad] + rates.parameters
    optimizer = torch.optim.Adam(parameters, lr=outer_loop.learning_rate)
    losses: list[float] = []
    with torch.random.fork_rng(), Progress("Meta-training", outer_loop.iterations, "steps", progress) as bar:
        torch.manual_seed(outer_loop.seed)
        generator = torch.Generator().manual_seed(outer_loop.seed)
        for iteration in range(outer_loop.iterations):
            drawn = tasks.draw(outer_loop.meta_batch, generator)
            if iteration == 0:
                check(start.module, start.loss, drawn.first_support())
            optimizer.zero_grad()
            losses.append(accumulate(start, rates, drawn).item())
            if not math.isfinite(losses[-1]):
                raise EdgeAdaptError(
                    f"the loss is {losses[-1]} in outer step {iteration + 1}; take a smaller rate or learning_rate, or a "
                    "max_norm."
                )
            if outer_loop.max_norm is not None:
                nn.utils.clip_grad_norm_(parameters, outer_loop.max_norm)
            for group in optimizer.param_groups:
                group["lr"] = outer_loop.learning_rate * (1 + math.cos(math.pi * iteration / outer_loop.iterations)) / 2
            optimizer.step()
            bar.advance(note=f"loss {losses[-1]:.3g}")
    return replace(start, rates=rates.detached() or start.rates, losses=(*learner.losses, *losses))


class LearnedRates:
    """Inner learning rates as the outer loop learns them.

    Where one is for many numbers, by its logarithm, so that it stays positive; otherwise, since it may be of any sign, in units
    of the rate that all start from, so that a step of the optimizer means the same whatever that is.

    The LSTM in place of rates learns all that it has.

    Args:
        rates: where they start.
        adaptation: which rates it learns.

    Attributes:
        learned: what the optimizer moves, for each step and tensor; empty where no rates are learned.
    """

    def __init__(self, rates: StepRates | LSTMOptimizer, adaptation: Adaptation) -> None:
        self._rates, self._adaptation = rates, adaptation
        kind, unit = adaptation.learned_rates, adaptation.rate
        self.learned: list[dict[str, Tensor]]
        if isinstance(rates, LSTMOptimizer):
            learned = copy.deepcopy(rates).requires_grad_(kind is not None)
            self._rates, self.learned = learned, [dict(learned.named_parameters())] if kind else []
            return
        self.learned = [
            {name: (rate / unit if kind == "element" else rate.log()).requires_grad_() for name, rate in own.items()}
            for own in (rates if kind else ())
        ]

    @property
    def parameters(self) -> list[Tensor]:
        """All that is learned."""
        return [tensor for own in self.learned for tensor in own.values()]

    def __call__(self) -> StepRates | LSTMOptimizer:
        """The rates as they are now, differentiable."""
        if isinstance(self._rates, LSTMOptimizer) or not self.learned:
            return self._rates
        kind, unit = self._adaptation.learned_rates, self._adaptation.rate
        return [
            {name: tensor * unit if kind == "element" else tensor.exp() for name, tensor in own.items()}
            for own in self.learned
        ]

    def detached(self) -> StepRates | LSTMOptimizer | None:
        """The rates that were learned; None where none were."""
        rates = self() if self.learned else ()
        if isinstance(rates, LSTMOptimizer):
            return copy.deepcopy(rates).requires_grad_(False)
        return tuple({name: rate.detach() for name, rate in own.items()} for own in rates) or None


def accumulate(learner: Learner, rates: LearnedRates, tasks: Tasks) -> Tensor:
    """Add the meta-gradient of the mean over some tasks to the gradients of the module's parameters and of the rates.

    Returns:
        The query loss after adaptation; with Reptile the loss before its last step. A scalar, without a gradient.
    """
    module, loss, adaptation = learner.module, learner.loss, learner.adaptation
    if adaptation.meta_gradient == "reptile":
        return _accumulate_way_back(learner, rates(), tasks)
    first_order = adaptation.meta_gradient == "first-order"
    mean = torch.zeros(())
    for support, query, together in tasks.parts():
        *_, last = inner_loop(module, loss, [support], adaptation.steps, rates(), together, first_order)
        share = values(module, loss, last.parameters, query, together).sum() / len(tasks)
        share.backward()  # type: ignore[no-untyped-call]
        mean = mean + share.detach()
    return mean


def _accumulate_way_back(learner: Learner, rates: StepRates | LSTMOptimizer, tasks: Tasks) -> Tensor:
    """As `accumulate`, for Reptile: initialization less adapted parameters, as if that were a gradient."""
    module, loss, steps = learner.module, learner.loss, learner.adaptation.steps
    mean = torch.zeros(())
    for support, query, together in tasks.parts():
        with torch.no_grad():  # what the inner loop needs it takes itself
            *_, last = inner_loop(module, loss, [support, query], steps, rates, together)
            assert last.losses is not None  # there is a step
            for name, tensor in last.parameters.items():
                parameter = module.get_parameter(name)
                way_back = (parameter - tensor).reshape(-1, *parameter.shape).sum(0) / len(tasks)
                parameter.grad = way_back if parameter.grad is None else parameter.grad + way_back
            mean = mean + last.losses.sum() / len(tasks)
    return mean
