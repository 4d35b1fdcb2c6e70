"""Small problems for the model-agnostic core, in float64."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_adapt.meta import Adaptation, Learner, Tasks
from edge_adapt.meta.adaptation import StepRates
from edge_adapt.meta.lstm_optimizer import LSTMOptimizer

Pair = tuple[Tensor, Tensor]


class Waves:
    """Sinusoids of random amplitude and phase: points [T, K, 1] and values [T, K, 1]."""

    def __init__(self, shots: int = 5, queries: int = 4) -> None:
        self._points = (shots, queries)

    def draw(self, count: int, generator: torch.Generator) -> Tasks:
        amplitude, phase = torch.rand(2, count, 1, 1, generator=generator, dtype=torch.float64)
        parts = [2 * torch.rand(count, n, 1, generator=generator, dtype=torch.float64) for n in self._points]
        return Tasks(*((points, (0.5 + amplitude) * torch.sin(points + phase)) for points in parts))


def tiny_module(seed: int = 0) -> nn.Sequential:
    """1 -> 3 -> 1, smooth, 10 parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def squared_error(module: nn.Module, batch: Pair) -> Tensor:
    """Of the module's values at some points, on average."""
    points, values = batch
    error: Tensor = (module(points) - values).square().mean()
    return error


def learner_of(adaptation: Adaptation, seed: int = 0) -> Learner:
    """The tiny module with this inner loop."""
    return Learner(tiny_module(seed), squared_error, adaptation)


def plain(rates: StepRates | LSTMOptimizer | None) -> StepRates:
    """Inner learning rates that are numbers."""
    assert rates is not None and not isinstance(rates, LSTMOptimizer)
    return rates


def task_of(tasks: Tasks, index: int) -> tuple[Pair, Pair]:
    """Support and query of one of some tasks."""
    (points, values), (query_points, query_values) = tasks.support, tasks.query
    return (points[index], values[index]), (query_points[index], query_values[index])


def one_by_one(tasks: Tasks) -> Tasks:
    """The same tasks as functions of the module, which go through the inner loop one after the other."""
    pairs = [task_of(tasks, index) for index in range(len(tasks))]
    return Tasks([lambda _, part=s: part for s, _ in pairs], [lambda _, part=q: part for _, q in pairs])
