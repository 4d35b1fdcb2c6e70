"""Adaptation with the features given: the exported graph, and the same steps in NumPy and in PyTorch, on one thread.

    python benchmarks/adaptation.py

What is timed is `Session.run` of the runtime as a classifier calls it, from NumPy arrays to NumPy arrays. The others start from
what is natural to them, arrays or tensors.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from benchmarks.measuring import machine, ratio, table, time_in_turn, with_one_thread
from edge_adapt.export.heads.gradient import BIAS_RATE, DOUBLINGS, GradientHeadParameters, gradient_head_graphs
from edge_adapt.networks.gradient_head import long_steps
from edge_adapt.runtime.sessions import Session, scalar

STEPS = 10
ROUNDS, CALLS = 40, 100
PARAMETERS = GradientHeadParameters(scale=0.1, pull=1e-3)
KEPT = np.float32(1 / (1 + PARAMETERS.pull))
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
    images = np.arange(len(labels))
    one_hot = np.eye(n_way, dtype=np.float32)[labels]
    shots = one_hot.sum(axis=0)
    share = (1 / (n_way * shots[labels])).astype(np.float32)
    mean = share @ features
    centred = features - mean
    roots = np.sqrt(share)[:, None]
    summed = roots * centred
    products = summed @ summed.T
    length = np.float32(1 / np.sqrt(np.linalg.norm(products @ products)))
    left = np.eye(len(labels), dtype=np.float32) - length * products
    summed *= 2 * length
    for _ in range(DOUBLINGS):
        summed += left @ summed
        left = left @ left
    directions = roots * summed
    prototypes = (one_hot.T @ centred) / shots[:, None]
    scale = np.float32(PARAMETERS.scale or 0)
    weight_0, bias_0 = 2 * scale * prototypes, -scale * (prototypes**2).sum(axis=1)
    logits_0 = centred @ weight_0.T + bias_0
    weight, bias = np.zeros_like(weight_0), np.zeros_like(bias_0)
    ahead, bias_ahead = weight, bias
    bias_share = np.float32(2 * BIAS_RATE) * share
    losses = np.empty(steps, np.float32)
    for step in range(steps):
        logits = logits_0 + centred @ ahead.T + bias_ahead
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        losses[step] = -share @ np.log(probabilities[images, labels])
        error = one_hot - probabilities
        moved, bias_moved = KEPT * (ahead + error.T @ directions), KEPT * (bias_ahead + bias_share @ error)
        further = np.float32((step + 1) / (step + 4))
        ahead, bias_ahead = moved + further * (moved - weight), bias_moved + further * (bias_moved - bias)
        weight, bias = moved, bias_moved
    weight = weight_0 + weight
    return weight, bias_0 + bias - weight @ mean, losses


@torch.inference_mode()
def torch_adapt(features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same in PyTorch, with the gradient written out."""
    start = _torch_start(features, labels, n_way)
    kept, images = float(KEPT), torch.arange(len(labels))
    weight, bias = torch.zeros_like(start.weight), torch.zeros_like(start.bias)
    ahead, bias_ahead, losses = weight, bias, []
    for step in range(steps):
        logits = start.centred @ (start.weight + ahead).T + start.bias + bias_ahead
        probabilities = torch.softmax(logits, dim=1)
        losses.append(-start.share @ probabilities[images, labels].log())
        error = 2 * (start.one_hot - probabilities)
        moved = kept * (ahead + error.T @ start.directions)
        bias_moved = kept * (bias_ahead + BIAS_RATE * start.share @ error)
        further = (step + 1) / (step + 4)
        ahead, bias_ahead = moved + further * (moved - weight), bias_moved + further * (bias_moved - bias)
        weight, bias = moved, bias_moved
    weight = start.weight + weight
    return weight, start.bias + bias - weight @ start.mean, torch.stack(losses)


def torch_adapt_by_autograd(features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same in PyTorch, with the gradient from autograd: what a user writes first.

    It is the gradient by the logits, since a step is not along that by the weights.
    """
    with torch.no_grad():
        start, kept = _torch_start(features, labels, n_way), float(KEPT)
    weight, bias = torch.zeros_like(start.weight), torch.zeros_like(start.bias)
    ahead, bias_ahead, losses = weight, bias, []
    for step in range(steps):
        logits = functional.linear(start.centred, start.weight + ahead, start.bias + bias_ahead).requires_grad_()
        loss = functional.cross_entropy(logits, labels, reduction="none") @ start.share
        (gradient,) = torch.autograd.grad(loss, logits)
        with torch.no_grad():
            error = -2 * gradient / start.share.unsqueeze(1)
            moved = kept * (ahead + error.T @ start.directions)
            bias_moved = kept * (bias_ahead + BIAS_RATE * start.share @ error)
            further = (step + 1) / (step + 4)
            ahead, bias_ahead = moved + further * (moved - weight), bias_moved + further * (bias_moved - bias)
            weight, bias = moved, bias_moved
        losses.append(loss.detach())
    weight = start.weight + weight
    return weight, start.bias + bias - weight @ start.mean, torch.stack(losses)


class _Start(NamedTuple):
    """One-hot targets [M, N], shares in the loss [M], the features' mean [D], features less that, what steps are along (both
    [M, D]), initial weight and bias."""

    one_hot: Tensor
    share: Tensor
    mean: Tensor
    centred: Tensor
    directions: Tensor
    weight: Tensor
    bias: Tensor


def _torch_start(features: Tensor, labels: Tensor, n_way: int) -> _Start:
    scale = PARAMETERS.scale or 0.0
    one_hot = functional.one_hot(labels, n_way).float()
    shots = one_hot.sum(dim=0)
    share = 1 / (n_way * shots[labels])
    mean = share @ features
    centred = features - mean
    roots = share.sqrt().unsqueeze(1)
    directions = roots * long_steps(roots * centred)
    prototypes = (one_hot.T @ centred) / shots.unsqueeze(1)
    weight, bias = 2 * scale * prototypes, -scale * prototypes.square().sum(dim=1)
    return _Start(one_hot, share, mean, centred, directions, weight, bias)


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
