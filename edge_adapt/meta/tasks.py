"""What a task is: something to adapt to, and something to measure the adapted module on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from edge_adapt.runtime.errors import EdgeAdaptError

Batch = Any
"""A tensor, or tuples, lists and dictionaries of them, one in another as you like."""

Collect = Callable[[nn.Module], Batch]
"""A module as it is adapted so far to a batch, such as the rollouts of a policy."""

Part = Any
"""What of a task the module learns from or is measured on: a batch, or a function that collects one."""

Loss = Callable[[nn.Module, Batch], Tensor]
"""A module and a batch to a scalar."""


@dataclass(frozen=True)
class Tasks:
    """Some tasks of one kind.

    Attributes:
        support: what the inner loop adapts to: a batch whose tensors all have the tasks as their first axis, [T, ...]; or a list
            of functions, one a task, each of which is asked at every step for a batch, given the module as it is adapted so far.
        query: what the adapted module is measured on, likewise.

    Tensors go through the inner loop all at once, under `torch.vmap`; functions task by task, and may do what they like, such
    as run a simulator.

    Raises:
        EdgeAdaptError: there is no task in it, or not the same number of them everywhere.
    """

    support: Any
    query: Any

    def __post_init__(self) -> None:
        counts, shapes = set(), []
        for name, part in (("support", self.support), ("query", self.query)):
            if is_collected(part):
                counts.add(len(part))
                shapes.append(f"{name} {len(part)} functions")
                continue
            found = list(leaves(part))
            others = [f"a {type(leaf).__name__}" for leaf in found if not isinstance(leaf, Tensor)]
            if others or not found:
                raise EdgeAdaptError(
                    f"the {name} of the tasks holds {(others or ['nothing'])[0]}; give tensors, in tuples, lists and "
                    "dictionaries, or a list of functions."
                )
            for leaf in found:
                if not leaf.ndim or not len(leaf):
                    raise EdgeAdaptError(
                        f"the {name} of the tasks holds a tensor of shape {list(leaf.shape)}; make the first axis of every "
                        "tensor the tasks, one or more."
                    )
            counts.update(len(leaf) for leaf in found)
            shapes.append(f"{name} {' and '.join(str(list(leaf.shape)) for leaf in found)}")
        if len(counts) > 1:
            raise EdgeAdaptError(
                f"tasks are of unequal shapes: {', '.join(shapes)}; make the first axis of every tensor the tasks, as many in "
                "the query as in the support."
            )

    def __len__(self) -> int:
        return len(self.support) if is_collected(self.support) else len(next(leaves(self.support)))

    def parts(self) -> Iterator[tuple[Part, Part, int | None]]:
        """Support and query of what goes through the inner loop together, and of how many tasks: None of a single one."""
        if is_collected(self.support) or is_collected(self.query):
            for task in range(len(self)):
                yield _of_task(self.support, task), _of_task(self.query, task), None
        else:
            yield self.support, self.query, len(self)

    def first_support(self) -> Part:
        """The support of one task."""
        return _of_task(self.support, 0)


class TaskDistribution(Protocol):
    """Where tasks come from."""

    def draw(self, count: int, generator: torch.Generator) -> Tasks:
        """New tasks.

        Args:
            count: how many.
            generator: what chance there is comes from it; on the CPU.
        """


def is_collected(part: Any) -> bool:
    """Whether this support or query is functions and not tensors."""
    return isinstance(part, Sequence) and len(part) > 0 and all(_is_function(collect) for collect in part)


def batch_of(module: nn.Module, part: Part) -> Batch:
    """The batch of one task's support or query under the module as it is adapted so far."""
    return part(module) if _is_function(part) else part


def leaves(batch: Batch) -> Iterator[Any]:
    """What lies in tuples, lists and dictionaries."""
    if isinstance(batch, Mapping):
        batch = tuple(batch.values())
    if isinstance(batch, list | tuple):
        for part in batch:
            yield from leaves(part)
    else:
        yield batch


def _is_function(part: object) -> bool:
    return callable(part) and not isinstance(part, Tensor)


def _of_task(part: Any, index: int) -> Part:
    if is_collected(part) or isinstance(part, Tensor):
        return part[index]
    if isinstance(part, Mapping):
        return {name: _of_task(value, index) for name, value in part.items()}
    values = [_of_task(value, index) for value in part]
    return part._make(values) if hasattr(part, "_make") else type(part)(values)  # a named tuple, or another
