"""What the one training loop can minimize: the query loss over episodes, or the loss of a classifier of the training classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from edge_adapt.classification import Classification, Teacher
from edge_adapt.episodes import ImageSampler
from edge_adapt.head_training import HeadAlone
from edge_adapt.learner import MetaLearner
from edge_adapt.outer_loop import query_loss
from edge_adapt.run import Checkpoint, TrainingConfig


class Objective(Protocol):
    """A loss over random images, computed piece by piece.

    Attributes:
        units: episodes (or images) in an outer step.
        pieces: how many to compute together may be worth trying; those that do not divide `units` are passed over.
    """

    units: int
    pieces: tuple[int, ...]

    def loss(self, learner: MetaLearner, count: int) -> tuple[Tensor, Tensor]:
        """The mean loss over `count` newly drawn units (differentiable, scalar) and the share of right answers (scalar)."""

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """What minimizes it, over the parameters of the learner and its own."""

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters of its own, for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """The inverse of `state_dict`."""


class Episodic:
    """The query loss of episodes after adapting to their support sets."""

    pieces: tuple[int, ...] = (1, 2, 4, 8, 16)

    def __init__(self, sampler: ImageSampler, config: TrainingConfig, generator: torch.Generator) -> None:
        self.units = config.meta_batch
        self._sampler, self._config, self._generator = sampler, config, generator

    def loss(self, learner: MetaLearner, count: int) -> tuple[Tensor, Tensor]:
        """See `query_loss`."""
        config = self._config
        images = self._sampler.draw_episodes(count, config.n_way, config.n_shot + config.n_query, self._generator)
        return query_loss(
            learner, config.method, images, config.n_shot, config.steps, self._generator if config.augment else None
        )

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """Adam over everything that the learner learns."""
        return torch.optim.Adam(learner.parameters(), lr=learning_rate)

    def state_dict(self) -> Mapping[str, Any]:
        """It has no parameters."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """It has no parameters."""


def objective_for(
    config: TrainingConfig,
    sampler: ImageSampler,
    feature_size: int,
    generator: torch.Generator,
    teacher: Checkpoint | None = None,
) -> Objective:
    """The objective of a method; `feature_size` is how many features a classifier of the training classes looks at."""
    if config.method == "classify":
        tutor = Teacher(teacher, generator.device) if teacher else None
        return Classification(sampler, config, feature_size, generator, tutor).to(generator.device)
    if config.method == "head":
        return HeadAlone(sampler.dataset, config.meta_batch, config.steps, generator)
    return Episodic(sampler, config, generator)
