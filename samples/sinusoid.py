"""Meta-learn to fit a sinusoid from a few points: the regression of Finn et al. (MAML, ICML 2017, section 5.1).

    python samples/sinusoid.py -o sinusoid.png

Minutes on one core. It prints the mean squared error on 600 new sinusoids after 0 to 10 gradient steps on 5 or 10 points, and
draws it where matplotlib is installed. Joint training learns as many tasks, all at once, and is then fine-tuned, at the best of
several rates. Any other method is another `Adaptation` in the table.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from edge_adapt.meta import Adaptation, Learner, OuterLoop, Tasks, meta_train

METHODS = {
    "MAML": Adaptation(steps=5, rate=0.02, learned_rates="step"),
    "joint training": Adaptation(steps=0),
}


class Sinusoids:
    """Amplitudes 0.1 to 5, phases 0 to pi, points at -5 to 5."""

    def __init__(self, shots: int, queries: int) -> None:
        self._points = (shots, queries)

    def draw(self, count: int, generator: torch.Generator) -> Tasks:
        amplitude, phase = torch.rand(2, count, 1, 1, generator=generator)
        parts = [10 * torch.rand(count, points, 1, generator=generator) - 5 for points in self._points]
        return Tasks(*((x, (0.1 + 4.9 * amplitude) * torch.sin(x - math.pi * phase)) for x in parts))


def loss(module: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    x, y = batch
    error: Tensor = (module(x) - y).square().mean()
    return error


def learned(adaptation: Adaptation, iterations: int) -> Learner:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))
    outer_loop = OuterLoop(iterations, meta_batch=25, learning_rate=0.01, max_norm=1.0)
    return meta_train(Learner(module, loss, adaptation), Sinusoids(10, 30), outer_loop, progress=True)


def errors(learner: Learner, shots: int, seed: int = 1) -> Tensor:
    """Mean squared errors of new tasks before the first and after each of ten steps [T, 11]."""
    return learner.evaluate(Sinusoids(shots, 100), 600, steps=10, seed=seed)


def fine_tuned(learner: Learner) -> Learner:
    """At the rate that does best on tasks which are not those of the test."""
    rates = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
    candidates = [replace(learner, adaptation=Adaptation(10, rate)) for rate in rates]
    return min(
        candidates, key=lambda candidate: errors(candidate, 10, seed=2)[:, -1].nan_to_num(math.inf).mean().item()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Meta-learn to fit a sinusoid from a few points.")
    parser.add_argument("-o", "--output", type=Path, help="the picture to write, a PNG")
    parser.add_argument("--iterations", type=int, default=2500, help="of each method's outer loop")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'mean squared error':20}{'K':>3}" + "".join(f"{f'{steps} steps':>16}" for steps in (0, 1, 5, 10)))
    learners = {}
    for name, adaptation in METHODS.items():
        began = time.process_time()
        learner = learned(adaptation, arguments.iterations)
        seconds = time.process_time() - began
        learners[name] = learner if adaptation.steps else fine_tuned(learner)
        for shots in (5, 10):
            found = errors(learners[name], shots)
            mean, half = found.mean(0), 1.96 * found.std(0) / len(found) ** 0.5
            cells = "".join(f"{f'{mean[steps]:.3f} ± {half[steps]:.3f}':>16}" for steps in (0, 1, 5, 10))
            print(f"{name:20}{shots:3}{cells}" + (f"   {seconds:.0f} s of one core" if shots == 5 else ""), flush=True)
    if arguments.output:
        draw(learners, arguments.output)


def draw(learners: Mapping[str, Learner], output: Path) -> None:
    """The errors by steps, and one sinusoid as it is learned."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    for name, learner in learners.items():
        left.semilogy(errors(learner, 10).mean(0), "o-", markersize=3, label=name)
    left.set(xlabel="gradient steps on 10 points", ylabel="mean squared error, 600 sinusoids")
    left.grid(alpha=0.3)
    left.legend(fontsize=8)
    x, y = Sinusoids(10, 1).draw(8, torch.Generator().manual_seed(5)).support
    everywhere = torch.linspace(-5, 5, 200)[:, None]
    for name, steps, style in (("MAML", 0, ":"), ("MAML", 1, "--"), ("MAML", 10, "-"), ("joint training", 10, "-")):
        with torch.no_grad():
            values = learners[name].adapt((x[0], y[0]), steps)(everywhere)
        color = "tab:blue" if name == "MAML" else "tab:orange"
        right.plot(everywhere, values, style, color=color, label=f"{name}, steps: {steps}")
    right.plot(x[0], y[0], "k^", label="the 10 points")
    right.set(xlabel="x", ylabel="y")
    right.grid(alpha=0.3)
    right.legend(fontsize=8, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))  # above the axis
    figure.savefig(output)


if __name__ == "__main__":
    main()
