"""A module with what it learns by: what meta-training begins with, and what it gives."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edge_adapt.meta.adaptation import Adaptation, StepRates
from edge_adapt.meta.inner_loop import check, inner_loop, values
from edge_adapt.meta.lstm_optimizer import LSTMOptimizer
from edge_adapt.meta.tasks import Loss, Part, TaskDistribution


@dataclass(frozen=True)
class Learner:
    """Any module, any loss, and how the one adapts by the other.

    Attributes:
        module: where adaptation starts; no method here changes it. Parameters that require no gradients stay as they are.
        loss: a module and a batch to a scalar. It calls the module as it likes, as often as it likes.
        adaptation: the inner loop.
        rates: learned inner learning rates, for each step those of each adapted tensor, or the LSTM in their place; None for
            those of `adaptation`.
        losses: of the outer loop that led here, one an iteration.
    """

    module: nn.Module
    loss: Loss
    adaptation: Adaptation
    rates: StepRates | LSTMOptimizer | None = None
    losses: tuple[float, ...] = ()

    @property
    def step_rates(self) -> StepRates | LSTMOptimizer:
        """The inner learning rates, learned or not."""
        return self.rates or self.adaptation.initial_rates(self.module)

    def adapt(self, support: Part, steps: int | None = None) -> nn.Module:
        """Learn a task.

        Args:
            support: a batch, of one task, without an axis of tasks; or a function of the module as it is adapted so far, which is
                asked for one at every step.
            steps: how many; None takes those of `adaptation`.

        Returns:
            A copy of the module with adapted parameters.

        Raises:
            EdgeAdaptError: the loss is no scalar, does not depend on the parameters, or changes buffers of the module.
        """
        steps, rates = self.adaptation.steps if steps is None else steps, self.step_rates
        check(self.module, self.loss, support)
        adapted = copy.deepcopy(self.module)
        with torch.no_grad():
            *_, last = inner_loop(self.module, self.loss, [support], steps, rates)
            for name, tensor in last.parameters.items():
                adapted.get_parameter(name).copy_(tensor)
        return adapted

    def evaluate(
        self,
        tasks: TaskDistribution,
        count: int,
        *,
        steps: int | None = None,
        measure: Loss | None = None,
        seed: int = 0,
    ) -> Tensor:
        """Adapt to new tasks, and measure on their query sets.

        Args:
            tasks: where they come from.
            count: how many T.
            steps: how many to take; None takes those of `adaptation`.
            measure: a module and a batch to a scalar; None takes the loss.
            seed: of what is drawn.

        Returns:
            Before the first and after each step, [T, steps + 1].

        Raises:
            EdgeAdaptError: as of `adapt`, or the tasks are of unequal shapes.
        """
        steps = self.adaptation.steps if steps is None else steps
        rates, found = self.step_rates, []
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            drawn = tasks.draw(count, torch.Generator().manual_seed(seed))
            check(self.module, self.loss, drawn.first_support())
            for support, query, together in drawn.parts():
                states = inner_loop(self.module, self.loss, [support], steps, rates, together)
                by_step = [
                    values(self.module, measure or self.loss, state.parameters, query, together) for state in states
                ]
                found.append(torch.stack(by_step, dim=-1).view(-1, steps + 1))
        return torch.cat(found)
