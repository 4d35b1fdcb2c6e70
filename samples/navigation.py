"""Meta-learn a policy that finds a goal it is not told: the 2D navigation of Finn et al. (MAML, ICML 2017, section 5.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from edge_adapt.meta import Adaptation, Learner, OuterLoop, Tasks, meta_train

HORIZON, PATHS, LONGEST, DISCOUNT = 100, 20, 0.1, 0.99


class Policy(nn.Module):
    """Where the agent is, [..., 2], to where it goes, a Gaussian."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 2))
        self.log_std = nn.Parameter(torch.full((2,), -2.0))
        for layer in (self.mean[0], self.mean[2], self.mean[4]):
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.mean[4].weight, std=0.01)  # it begins by staying about where it is

    def forward(self, positions: Tensor) -> Normal:
        return Normal(self.mean(positions), self.log_std.exp(), validate_args=False)


class Paths(NamedTuple):
    """Where the agent was before each step, what it wanted, where that led it, each [P, H, 2], and its rewards [P, H]."""

    before: Tensor
    actions: Tensor
    after: Tensor
    rewards: Tensor


@torch.no_grad()
def walk(policy: Policy, goal: Tensor) -> Paths:
    """Rollouts from the origin. The reward of a step is the distance to the goal [2] after it, negative; nothing ends before H."""
    position, std = torch.zeros(PATHS, 2), policy.log_std.exp()
    before, actions, after = [], [], []
    for _ in range(HORIZON):
        before.append(position)
        actions.append(policy.mean(position) + std * torch.randn(PATHS, 2))
        position = position + actions[-1].clamp(-LONGEST, LONGEST)
        after.append(position)
    reached = torch.stack(after, 1)
    return Paths(torch.stack(before, 1), torch.stack(actions, 1), reached, -(reached - goal).norm(dim=-1))


def advantages(paths: Paths) -> Tensor:
    """Discounted rewards to come [P, H], less a baseline that is linear in features of place and time; of mean 0 and spread 1."""
    time = torch.arange(HORIZON, dtype=torch.float32)
    to_come = paths.rewards @ (DISCOUNT ** (time - time[:, None])).triu().T
    powers = (time / HORIZON)[:, None] ** torch.arange(4)
    features = torch.cat([paths.before, paths.before**2, powers.expand(PATHS, -1, -1)], -1).flatten(0, 1)  # [P * H, 8]
    products = features.T @ features + 1e-3 * torch.eye(8)
    weights = torch.linalg.solve(products, features.T @ to_come.flatten()[:, None])
    left = to_come - (features @ weights).view(PATHS, HORIZON)
    return (left - left.mean()) / (left.std() + 1e-8)


def loss(policy: Policy, goal: Tensor) -> Tensor:
    """Of new rollouts. Its gradient estimates that of the return, and so does its second derivative (Foerster et al., 2018)."""
    paths = walk(policy, goal)
    likelihood = policy(paths.before).log_prob(paths.actions).sum(-1)
    return -((likelihood - likelihood.detach()).exp() * advantages(paths)).mean()


class Goals:
    """Anywhere in the unit square around the origin."""

    def draw(self, count: int, generator: torch.Generator) -> Tasks:
        goals = torch.rand(count, 2, generator=generator) - 0.5
        return Tasks(goals, goals)


def mean_return(policy: Policy, goal: Tensor) -> Tensor:
    return walk(policy, goal).rewards.sum(-1).mean()
