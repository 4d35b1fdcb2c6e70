"""The inner loop, of any module and any loss: gradient steps on a task, or on several tasks together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from edge_adapt.meta.adaptation import StepRates
from edge_adapt.meta.lstm_optimizer import LSTMOptimizer, Memory
from edge_adapt.meta.tasks import Loss, Part, batch_of
from edge_adapt.runtime.errors import EdgeAdaptError


class Reached(NamedTuple):
    """Where the inner loop has come to.

    Attributes:
        parameters: those that are adapted, by their names; of T tasks together each [T, ...].
        losses: before the step that led here, a scalar or [T]; None at the start.
    """

    parameters: Mapping[str, Tensor]
    losses: Tensor | None


def inner_loop(
    module: nn.Module,
    loss: Loss,
    parts: Sequence[Part],
    steps: int,
    rates: StepRates | LSTMOptimizer,
    together: int | None = None,
    first_order: bool = False,
) -> Iterator[Reached]:
    """The inner loop, from before its first step to after its last: `steps` + 1 states.

    Args:
        module: whose parameters it starts from; it stays as it is.
        loss: what the steps lower.
        parts: of the task; one step after the other takes one of them, again and again.
        steps: how many.
        rates: which parameters they move, and how far; or what learned to say so.
        together: how many tasks these are, their tensors [T, ...]; None is a single one.
        first_order: take the inner gradients as constants.
    """
    if steps < 0:
        raise EdgeAdaptError(f"steps is {steps}; take 0 or more.")
    names = rates.names if isinstance(rates, LSTMOptimizer) else rates[0]
    reached: dict[str, Tensor] = {name: module.get_parameter(name) for name in names}
    if together is not None:
        reached = {name: tensor.expand(together, *tensor.shape) for name, tensor in reached.items()}
    yield Reached(reached, None)
    memory: Memory | None = None
    for step in range(steps):
        differentiate = torch.is_grad_enabled()
        inputs = reached
        if not differentiate:
            inputs = {name: tensor.detach().requires_grad_() for name, tensor in reached.items()}
        with torch.enable_grad():
            losses = values(module, loss, inputs, parts[step % len(parts)], together)
            gradients = torch.autograd.grad(
                losses.sum(),
                list(inputs.values()),
                create_graph=differentiate and not first_order,
                materialize_grads=True,
            )
        if isinstance(rates, LSTMOptimizer):
            reached, memory = rates(inputs, gradients, losses.detach() if first_order else losses, memory)
        else:
            own = rates[min(step, len(rates) - 1)]
            reached = {
                name: tensor - own[name] * gradient
                for (name, tensor), gradient in zip(inputs.items(), gradients, strict=True)
            }
        yield Reached(reached, losses.detach())


def values(module: nn.Module, loss: Loss, parameters: Mapping[str, Tensor], part: Part, together: int | None) -> Tensor:
    """A loss of a task's support or query with these parameters in the module, a scalar; of T tasks together [T]."""
    if together is None:
        with torch.no_grad():  # it is data: how it came about is not differentiated
            batch = _under(module, parameters, batch_of, part)
        value: Tensor = _under(module, parameters, loss, batch)
        return value
    each = torch.vmap(lambda parameters, batch: _under(module, parameters, loss, batch), randomness="different")
    of_each: Tensor = each(dict(parameters), part)
    return of_each


def _under(
    module: nn.Module, parameters: Mapping[str, Tensor], function: Callable[[nn.Module, Any], Any], argument: Any
) -> Any:
    """What a function of the module and something else gives with these parameters in the module."""
    inside = {f"module.{name}": tensor for name, tensor in parameters.items()}
    return functional_call(_Calling(module), inside, (function, argument))


def check(module: nn.Module, loss: Loss, part: Part) -> None:
    """Raise EdgeAdaptError unless the loss is one that the inner loop can lower."""
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with torch.random.fork_rng():
        with torch.no_grad():
            batch = batch_of(module, part)
        with torch.enable_grad():
            value = loss(module, batch)
    changed = []
    for name, buffer in module.named_buffers():
        if not torch.equal(buffer, before[name]):
            buffer.copy_(before[name])
            changed.append(name)
    if changed:
        raise EdgeAdaptError(
            f"the loss changes the module's buffer {changed[0]}, which tasks would share; call `module.eval()` first, or "
            "take a normalization without running statistics."
        )
    if not isinstance(value, Tensor) or value.shape != ():
        what = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
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
