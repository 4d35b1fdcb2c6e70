"""Adaptation with the features given: the exported graph, and the same steps in NumPy and in PyTorch, on one thread.

    python benchmarks/adaptation.py

What is timed is `Session.run` of the runtime as a classifier calls it, from NumPy arrays to NumPy arrays. The others start from
what is natural to them, arrays or tensors. The learned rates are as `train` leaves them: one of its own for each of five steps.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.measuring import machine, ratio, table, time_in_turn, with_one_thread
from edge_adapt.export.gradient_head import GradientHeadParameters, gradient_head_graphs
from edge_adapt.runtime.sessions import Session, scalar

STEPS = 10
ROUNDS, CALLS = 40, 100
PARAMETERS = GradientHeadParameters(scale=0.1, rates=(0.5, 0.4, 0.3, 0.2, 0.2), bias_rate=0.5)
TOLERANCE = 1e-5

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Weight [N, D], bias [N] and losses [steps]."""


@dataclass(frozen=True)
class Task:
    """A support set: `n_shot` images of each of `n_way` classes, as features of `feature_size` numbers."""

    n_way: int
    n_shot: int
    feature_size: int
    expected: float
    """The most that the graph should take of NumPy's time."""

    def __str__(self) -> str:
        return f"{self.n_way} ways x {self.n_shot}, D = {self.feature_size}"

    def draw(self, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Features [M, D] as after a ReLU, of a norm near 4, and labels [M]."""
        random = np.random.default_rng(seed)
        labels = np.repeat(np.arange(self.n_way), self.n_shot)
        centres = random.standard_normal((self.n_way, self.feature_size))[labels]
        drawn = centres + random.standard_normal((len(labels), self.feature_size))
        return (np.maximum(drawn, 0) * (4 / self.feature_size**0.5)).astype(np.float32), labels


TASKS = (Task(5, 1, 64, 0.5), Task(5, 5, 1024, 0.4), Task(20, 5, 256, 0.4))
FASTER_THAN_TORCH = 5


def numpy_adapt(features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int) -> Arrays:
    """The inner loop through weight and bias, float32 throughout."""
    rates, bias_rate = np.array(PARAMETERS.rates, np.float32), np.float32(PARAMETERS.bias_rate)
    scale = np.float32(PARAMETERS.scale or 0)
    images = np.arange(len(labels))
    one_hot = np.eye(n_way, dtype=np.float32)[labels]
    shots = one_hot.sum(axis=0)
    share = 1 / (n_way * shots[labels])
    rates = rates * np.float32(n_way / (share @ (features**2).sum(axis=1) + bias_rate))
    prototypes = (one_hot.T @ features) / shots[:, None]
    weight, bias = 2 * scale * prototypes, -scale * (prototypes**2).sum(axis=1)
    losses = np.empty(steps, np.float32)
    for step in range(steps):
        logits = features @ weight.T + bias
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        losses[step] = -share @ np.log(probabilities[images, labels])
        error = (one_hot - probabilities) * (rates[min(step, len(rates) - 1)] * share)[:, None]
        weight += error.T @ features
        bias += bias_rate * error.sum(axis=0)
    return weight, bias, losses


@torch.inference_mode()
def torch_adapt(features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same in PyTorch, with the gradient written out."""
    one_hot, share, weight, bias, unit = _torch_start(features, labels, n_way)
    images = torch.arange(len(labels))
    losses = []
    for step in range(steps):
        probabilities = torch.softmax(features @ weight.T + bias, dim=1)
        losses.append(-share @ probabilities[images, labels].log())
        error = (one_hot - probabilities) * (_rate(step) * unit * share)[:, None]
        weight += error.T @ features
        bias += PARAMETERS.bias_rate * error.sum(dim=0)
    return weight, bias, torch.stack(losses)


def torch_adapt_by_autograd(features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same in PyTorch, with the gradient from autograd: what a user writes first."""
    with torch.no_grad():
        _, share, weight, bias, unit = _torch_start(features, labels, n_way)
    weight.requires_grad_()
    bias.requires_grad_()
    losses = []
    for step in range(steps):
        loss = functional.cross_entropy(functional.linear(features, weight, bias), labels, reduction="none") @ share
        of_weight, of_bias = torch.autograd.grad(loss, (weight, bias))
        with torch.no_grad():
            weight -= _rate(step) * unit * of_weight
            bias -= _rate(step) * unit * PARAMETERS.bias_rate * of_bias
        losses.append(loss.detach())
    return weight.detach(), bias.detach(), torch.stack(losses)


def _rate(step: int) -> float:
    return PARAMETERS.rates[min(step, len(PARAMETERS.rates) - 1)]


def _torch_start(features: Tensor, labels: Tensor, n_way: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """One-hot targets [M, N], the share of each image in the loss [M], the initial weight and bias, and the rates' unit."""
    scale = PARAMETERS.scale or 0.0
    one_hot = functional.one_hot(labels, n_way).float()
    shots = one_hot.sum(dim=0)
    prototypes = (one_hot.T @ features) / shots.unsqueeze(1)
    share = 1 / (n_way * shots[labels])
    unit = n_way / (share @ features.square().sum(dim=1) + PARAMETERS.bias_rate)
    return one_hot, share, 2 * scale * prototypes, -scale * prototypes.square().sum(dim=1), unit


def graph_session(feature_size: int) -> Session:
    """The graph as it is exported, in the session that the runtime makes of it."""
    graph = gradient_head_graphs(PARAMETERS, feature_size).adapt
    return Session(graph, "adapt.onnx", ("features", "targets", "n_way", "steps"))


def graph_adapt(
    session: Session, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
) -> Arrays:
    """The same by the exported graph."""
    feeds: dict[str, NDArray[Any]] = {
        "features": features,
        "targets": labels,
        "n_way": scalar(n_way),
        "steps": scalar(steps),
    }
    weight, bias, losses = session.run(feeds)
    return weight, bias, losses


def largest_difference(ours: Arrays, theirs: Arrays) -> float:
    """Over the three arrays, the largest difference relative to the array's largest magnitude."""
    return max(float(np.abs(one - other).max() / np.abs(other).max()) for one, other in zip(ours, theirs, strict=True))


def compare(task: Task) -> list[str]:
    """Check that all four agree, time them, and give a row of the table."""
    features, labels = task.draw()
    inputs = torch.from_numpy(features), torch.from_numpy(labels)
    session, n_way = graph_session(task.feature_size), task.n_way
    graph = graph_adapt(session, features, labels, n_way, STEPS)
    for others in (
        numpy_adapt(features, labels, n_way, STEPS),
        *(
            tuple(tensor.numpy() for tensor in adapt(*inputs, n_way, STEPS))
            for adapt in (torch_adapt, torch_adapt_by_autograd)
        ),
    ):
        difference = largest_difference(graph, others)  # type: ignore[arg-type]
        if not difference <= TOLERANCE:
            raise SystemExit(f"{task}: the results differ by {difference:.1e}, and nothing is measured.")
    seconds = time_in_turn(
        {
            "graph": lambda: graph_adapt(session, features, labels, n_way, STEPS),
            "numpy": lambda: numpy_adapt(features, labels, n_way, STEPS),
            "torch": lambda: torch_adapt(*inputs, n_way, STEPS),
            "autograd": lambda: torch_adapt_by_autograd(*inputs, n_way, STEPS),
        },
        ROUNDS,
        CALLS,
    )
    to_numpy = ratio(seconds["graph"], seconds["numpy"])
    slower = [ratio(seconds[name], seconds["graph"]) for name in ("torch", "autograd")]
    return [
        str(task),
        *(f"{1e6 * median(times):.0f}" for times in seconds.values()),
        str(to_numpy),
        f"at most {task.expected}",
        *map(str, slower),
        f"at least {FASTER_THAN_TORCH}",
    ]


def main() -> None:
    """Print the table."""
    with_one_thread()
    torch.set_num_threads(1)
    print(
        f"Adaptation, features given, {STEPS} steps, one thread: microseconds (medians) and ratios over {ROUNDS} turns."
    )
    print(machine("onnxruntime", "numpy", "torch"), "\n")
    header = (
        "support set|graph|NumPy|PyTorch|by autograd|graph / NumPy|expected|PyTorch / graph|autograd / graph|expected"
    )
    print(table(header.split("|"), [compare(task) for task in TASKS]))


if __name__ == "__main__":
    main()
