"""Meta-learn a policy that finds a goal which it is not told: the 2D navigation of Finn et al. (MAML, ICML 2017, section 5.3).

    python samples/navigation.py -o navigation.png

Minutes on one core. A point starts at the origin; what it does is its next move, at most 0.1 a coordinate, and the reward is its
distance to the goal, negative, as in the authors' code. It walks 20 times, 100 moves each, takes a step of the policy gradient
(REINFORCE with a linear baseline), and walks again. Unlike there nothing ends where the goal is reached, and the outer loop is
Adam in place of TRPO. Joint training is the same policy trained on all goals at once, and then adapted at the best of several
rates.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from edge_adapt.meta import Adaptation, Learner, OuterLoop, Tasks, meta_train

PATHS, HORIZON, LONGEST, DISCOUNT = 20, 100, 0.1, 0.99
METHODS = {"MAML": Adaptation(steps=1, rate=0.1, learned_rates="tensor"), "joint training": Adaptation(steps=0)}


class Policy(nn.Module):
    """Where the point is [..., 2] to its next move, a Gaussian. It begins by staying where it is, but for chance."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Linear(2, 100), nn.Linear(100, 100), nn.Linear(100, 2)]
        for layer in layers:
            nn.init.zeros_(layer.bias)
        nn.init.normal_(layers[-1].weight, std=0.01)
        self.mean = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
        self.log_std = nn.Parameter(torch.full((2,), -2.0))

    def forward(self, places: Tensor) -> Normal:
        return Normal(self.mean(places), self.log_std.exp(), validate_args=False)


class Rollouts(NamedTuple):
    """Places before each move, moves, and places after it [P, H, 2]; rewards [P, H]."""

    places: Tensor
    moves: Tensor
    reached: Tensor
    rewards: Tensor


@torch.no_grad()
def rollouts(policy: nn.Module, goal: Tensor) -> Rollouts:
    """What a policy, adapted or not, does where the goal is here [2]."""
    reached, moves = [torch.zeros(PATHS, 2)], []
    for _ in range(HORIZON):
        moves.append(policy(reached[-1]).sample())
        reached.append(reached[-1] + moves[-1].clamp(-LONGEST, LONGEST))
    places = torch.stack(reached, 1)
    return Rollouts(places[:, :-1], torch.stack(moves, 1), places[:, 1:], -(places[:, 1:] - goal).norm(dim=-1))


def advantages(of: Rollouts) -> Tensor:
    """Discounted rewards to come, less what is linear in features of place and time; of mean 0 and spread 1 [P, H]."""
    time = torch.arange(HORIZON, dtype=torch.float32)
    to_come = of.rewards @ (DISCOUNT ** (time - time[:, None])).triu().T
    powers = (time[:, None] / HORIZON) ** torch.arange(4)
    features = torch.cat([of.places, of.places**2, powers.expand(PATHS, -1, -1)], -1).flatten(0, 1)  # [P * H, 8]
    products = features.T @ features + 1e-3 * torch.eye(8)
    weights = torch.linalg.solve(products, features.T @ to_come.flatten()[:, None])
    left = to_come - (features @ weights).view(PATHS, HORIZON)
    centred: Tensor = (left - left.mean()) / (left.std() + 1e-8)
    return centred


def loss(policy: nn.Module, goal: Tensor) -> Tensor:
    """Its derivatives are those of the expected return, estimated, of the first and of the second order.

    A likelihood over itself is 1, and its gradient that of the log-likelihood: DiCE, Foerster et al., ICML 2018,
    https://arxiv.org/abs/1802.05098, with the lower variance of Rothfuss et al. (ProMP), ICLR 2019, https://arxiv.org/abs/1810.06784.
    """
    walked = rollouts(policy, goal)
    likelihood = policy(walked.places).log_prob(walked.moves).sum(-1)
    surrogate: Tensor = -((likelihood - likelihood.detach()).exp() * advantages(walked)).mean()
    return surrogate


def mean_return(policy: nn.Module, goal: Tensor) -> Tensor:
    return rollouts(policy, goal).rewards.sum(-1).mean()


class Goals:
    """Anywhere in the unit square around the origin."""

    def draw(self, count: int, generator: torch.Generator) -> Tasks:
        goals = torch.rand(count, 2, generator=generator) - 0.5
        return Tasks(goals, goals)


def learned(adaptation: Adaptation, iterations: int, seed: int) -> Learner:
    torch.manual_seed(seed)
    outer_loop = OuterLoop(iterations, meta_batch=20, learning_rate=0.01, max_norm=1.0, seed=seed)
    return meta_train(Learner(Policy(), loss, adaptation), Goals(), outer_loop, progress=True)


def returns(learner: Learner, goals: int, steps: int, seed: int) -> Tensor:
    """Of new goals, before the first and after each step [goals, steps + 1]."""
    return learner.evaluate(Goals(), goals, steps=steps, measure=mean_return, seed=seed)


def tuned(learner: Learner) -> Learner:
    """At the rate that does best after a step, on goals which are not those of the test."""
    candidates = [replace(learner, adaptation=Adaptation(1, rate)) for rate in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)]
    return max(candidates, key=lambda candidate: returns(candidate, 20, 1, seed=1000)[:, 1].mean().item())


def row(name: str, seed: int, values: Tensor) -> str:
    """Means over goals, with 95% intervals."""
    mean, half = values.mean(0), 1.96 * values.std(0) / len(values) ** 0.5
    return f"{name:24}{seed:6}" + "".join(f"{f'{mean[steps]:.1f} ± {half[steps]:.1f}':>16}" for steps in (0, 1))


def main() -> None:
    parser = argparse.ArgumentParser(description="Meta-learn a policy that finds a goal which it is not told.")
    parser.add_argument("-o", "--output", type=Path, help="the picture to write, a PNG")
    parser.add_argument("--iterations", type=int, default=40, help="of the outer loop")
    parser.add_argument("--seeds", type=int, default=3, help="how often all of it is done")
    parser.add_argument("--goals", type=int, default=100, help="to test on")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'mean return':24}{'seed':>6}{'before':>16}{'after a step':>16}")
    learners: dict[str, Learner] = {}
    for seed in range(arguments.seeds):
        found = {}
        for name, adaptation in METHODS.items():
            began = time.process_time()
            learner = learned(adaptation, arguments.iterations, seed)
            seconds = time.process_time() - began
            learner = learner if adaptation.steps else tuned(learner)
            learners.setdefault(name, learner)
            found[name] = returns(learner, arguments.goals, 1, seed=2000 + seed)
            print(row(name, seed, found[name]) + f"   {seconds:.0f} s of one core", flush=True)
        ours, theirs = found.values()
        print(row("MAML less joint training", seed, ours - theirs), flush=True)
    if arguments.output:
        draw(learners, arguments.output)


def paths_of(policy: nn.Module, goal: Tensor) -> Tensor:
    """Where it is from the origin on [P, H + 1, 2]."""
    return torch.cat([torch.zeros(PATHS, 1, 2), rollouts(policy, goal).reached], 1)


def draw(learners: Mapping[str, Learner], output: Path) -> None:
    """The mean path before a step; after it, to each of four goals, the mean and three single ones."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(learners), 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    goals = torch.tensor([[0.4, 0.3], [-0.4, 0.2], [-0.3, -0.4], [0.2, -0.3]])
    for axis, (name, learner) in zip(figure.subplots(1, len(learners)), learners.items(), strict=True):
        torch.manual_seed(0)
        axis.plot(*paths_of(learner.module, goals[0]).mean(0).T, ":", color="black", label="before")
        for color, goal in zip(("tab:blue", "tab:orange", "tab:green", "tab:red"), goals, strict=True):
            paths = paths_of(learner.adapt(goal, steps=1), goal)
            axis.plot(*paths[:3].transpose(0, 2), color=color, alpha=0.25, linewidth=0.7)
            axis.plot(*paths.mean(0).T, color=color, label="after a step" if color == "tab:blue" else None)
            axis.plot(*goal, "*", color=color, markersize=14, markeredgecolor="black")
        axis.set(title=name, xlabel="x", ylabel="y", xlim=(-0.8, 0.8), ylim=(-0.8, 0.8), aspect="equal")
        axis.grid(alpha=0.3)
        axis.legend(loc="upper right", fontsize=8)
    figure.savefig(output)


if __name__ == "__main__":
    main()
