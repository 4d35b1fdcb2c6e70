"""A module with what it learns by: what meta-training begins with, and what it gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edge_adapt.meta.adaptation import Adaptation, StepRates
from edge_adapt.meta.tasks import Loss, Part, TaskDistribution, batch_of
from edge_adapt.runtime.errors import EdgeAdaptError


class Reached(NamedTuple):
    """Where the inner loop has come to.

    Attributes:
        parameters: those that are adapted, by their names; of T tasks together each [T, ...].
        losses: before the step that led here, a scalar or [T]; None at the start.
    """

    parameters: Mapping[str, Tensor]
    losses: Tensor | None


@dataclass(frozen=True)
class Learner:
    """Any module, any loss, and how the one adapts by the other.

    Attributes:
        module: where adaptation starts; no method here changes it. Parameters that require no gradients stay as they are.
        loss: a module and a batch to a scalar. It calls the module as it likes, as often as it likes.
        adaptation: the inner loop.
        rates: learned inner learning rates, for each step those of each adapted tensor; None for those of `adaptation`.
        losses: of the outer loop that led here, one an iteration.
    """

    module: nn.Module
    loss: Loss
    adaptation: Adaptation
    rates: StepRates | None = None
    losses: tuple[float, ...] = ()

    @property
    def step_rates(self) -> StepRates:
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
        self.check(support)
        adapted = copy.deepcopy(self.module)
        with torch.no_grad():
            *_, last = self.trajectory([support], steps, rates)
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
        rates, values = self.step_rates, []
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            drawn = tasks.draw(count, torch.Generator().manual_seed(seed))
            self.check(drawn.first_support())
            for support, query, together in drawn.parts():
                states = self.trajectory([support], steps, rates, together)
                by_step = [self.values(measure or self.loss, state.parameters, query, together) for state in states]
                values.append(torch.stack(by_step, dim=-1).view(-1, steps + 1))
        return torch.cat(values)

    def trajectory(
        self,
        parts: Sequence[Part],
        steps: int,
        rates: StepRates,
        together: int | None = None,
        first_order: bool = False,
    ) -> Iterator[Reached]:
        """The inner loop, from before its first step to after its last: `steps` + 1 states.

        Args:
            parts: of the task; one step after the other takes one of them, again and again.
            steps: how many.
            rates: which parameters they move, and how far.
            together: how many tasks these are, their tensors [T, ...]; None is a single one.
            first_order: take the inner gradients as constants.
        """
        if steps < 0:
            raise EdgeAdaptError(f"steps is {steps}; take 0 or more.")
        reached: dict[str, Tensor] = {name: self.module.get_parameter(name) for name in rates[0]}
        if together is not None:
            reached = {name: tensor.expand(together, *tensor.shape) for name, tensor in reached.items()}
        yield Reached(reached, None)
        for step in range(steps):
            differentiate = torch.is_grad_enabled()
            inputs = reached
            if not differentiate:
                inputs = {name: tensor.detach().requires_grad_() for name, tensor in reached.items()}
            with torch.enable_grad():
                losses = self.values(self.loss, inputs, parts[step % len(parts)], together)
                gradients = torch.autograd.grad(
                    losses.sum(),
                    list(inputs.values()),
                    create_graph=differentiate and not first_order,
                    materialize_grads=True,
                )
            own = rates[min(step, len(rates) - 1)]
            reached = {
                name: tensor - own[name] * gradient
                for (name, tensor), gradient in zip(inputs.items(), gradients, strict=True)
            }
            yield Reached(reached, losses.detach())

    def values(self, loss: Loss, parameters: Mapping[str, Tensor], part: Part, together: int | None) -> Tensor:
        """A loss of a task's support or query with these parameters in the module, a scalar; of T tasks together [T]."""
        if together is None:
            with torch.no_grad():  # it is data: how it came about is not differentiated
                batch = self._under(parameters, batch_of, part)
            value: Tensor = self._under(parameters, loss, batch)
            return value
        each = torch.vmap(lambda parameters, batch: self._under(parameters, loss, batch), randomness="different")
        values: Tensor = each(dict(parameters), part)
        return values

    def _under(self, parameters: Mapping[str, Tensor], function: Callable[[nn.Module, Any], Any], argument: Any) -> Any:
        """What a function of the module and something else gives with these parameters in the module."""
        inside = {f"module.{name}": tensor for name, tensor in parameters.items()}
        return functional_call(_Calling(self.module), inside, (function, argument))

    def check(self, part: Part) -> None:
        """Raise EdgeAdaptError unless the loss is one that the inner loop can lower."""
        before = {name: buffer.clone() for name, buffer in self.module.named_buffers()}
        with torch.random.fork_rng():
            with torch.no_grad():
                batch = batch_of(self.module, part)
            with torch.enable_grad():
                value = self.loss(self.module, batch)
        changed = []
        for name, buffer in self.module.named_buffers():
            if not torch.equal(buffer, before[name]):
                buffer.copy_(before[name])
                changed.append(name)
        if changed:
            raise EdgeAdaptError(
                f"the loss changes the module's buffer {changed[0]}, which tasks would share; call `module.eval()` first, or "
                "take a normalization without running statistics."
            )
        if not isinstance(value, Tensor) or value.shape != ():
            what = (
                f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            )
            raise EdgeAdaptError(f"the loss gives {what}; let it give a scalar tensor, such as the mean.")
        if not value.requires_grad:
            raise EdgeAdaptError(
                "the loss does not depend on the module's parameters; compute it from what the module gives, without detaching."
            )


class _Calling(nn.Module):
    """Makes any function of a module a forward pass, for which `functional_call` exchanges parameters."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, function: Callable[[nn.Module, Any], Any], argument: Any) -> Any:
        """See the class."""
        return function(self.module, argument)
