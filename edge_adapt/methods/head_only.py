"""Meta-learning of a gradient head alone, on the features of a frozen backbone: its pull, one number.

Of 20 steps from close to zero; `edge_adapt.networks.gradient_head.GradientHead` says what keeps them stable.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_adapt.methods.episodes import EpisodeSampler, EpisodeShape
from edge_adapt.methods.feature_cache import cached_features, digest_of
from edge_adapt.methods.method import GradientMethod
from edge_adapt.methods.objective import (
    Objective,
    StepMetrics,
    TrainingData,
    WithoutState,
    backpropagate,
    last_layer_loss,
)
from edge_adapt.networks.backbones import Lite
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.pixel_cache import default_cache
from edge_adapt.runtime.errors import DataError, EdgeAdaptError

SHOTS, WAYS, N_QUERY = (1, 2, 5, 10, 20), (2, 5, 10, 20, 50, 100), 5
"""Episodes vary, so that what is learned does not depend on the number of shots or ways."""

MOST_SHOTS = 400
"""Support images of an episode at most: with more, a few episodes would take longer than all others."""

LEAST_WAYS = 5

STEPS = 20
"""Of the inner loop, where nothing else is said."""

ITERATIONS, EPISODES, LEARNING_RATE = 200, 4, 0.1

DRAWS = 50
"""Of so many episodes each, which an expected accuracy is the mean of."""

SCALE = 0.01
"""Of the prototypes, in units of the features' variance: so small that steps start from next to zero, and no steps from the
nearest class mean. It is not learned: class means are at their best on classes that the backbone was trained on, and learned
on those it came to 25 for `photos`, which cost 1.3 points with 5 new classes of 1 shot, and 5 points with 20."""


class HeadAlone(WithoutState):
    """The objective of `HeadOnly`: the query loss of episodes of all shapes, of features that do not change.

    Args:
        features: what `prepare` takes them from, float32 [I, D].
        source: where their images came from, for messages.
        units: episodes in an outer step.
        steps: of the inner loop.
        generator: draws, on the device of the features.
    """

    def __init__(
        self,
        features: Callable[[MetaLearner], EpisodeSampler],
        source: str,
        units: int,
        steps: int,
        generator: torch.Generator,
    ) -> None:
        self.units = units
        self.micro_batches: tuple[int, ...] = (units,)
        self.generator = generator
        self._features_of, self._source, self._steps = features, source, steps

    def prepare(self, learner: MetaLearner) -> None:
        """Compute the features, and the head's scale; from then on the backbone is not run any more.

        Raises:
            DataError: fewer than `LEAST_WAYS` classes have the images for an episode.
            EdgeAdaptError: the last layer of the backbone has not been trained, and would not be.
        """
        self.features = self._features_of(learner)
        self.shapes = shapes(self.features.counts.cpu().numpy(), self._source)
        with torch.no_grad():
            variance = self.features.rows.var(0).sum().clamp(min=1e-12)
            _gradient_head(learner).log_scale.copy_((SCALE / variance).log())

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        """That of `loss`."""
        with _one_thread():
            return backpropagate(*self.loss(learner, count), share)

    def loss(self, learner: MetaLearner, count: int) -> tuple[Tensor, Tensor]:
        """As `last_layer_loss`, of newly drawn episodes of one number of ways and shots, which is drawn too."""
        drawn = torch.randint(len(self.shapes), (), generator=self.generator, device=self.generator.device)
        n_way, n_shot = self.shapes[int(drawn)]
        rows = self.features.draw_episodes(count, n_way, n_shot + N_QUERY, self.generator)
        return last_layer_loss(learner.head, rows, n_shot, self._steps)

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """Adam over the pull; where no steps are taken, over the scale, which is then the temperature of the answers."""
        head = _gradient_head(learner)
        return torch.optim.Adam([head.log_pull if self._steps else head.log_scale], lr=learning_rate)

    @torch.no_grad()
    def expected_accuracy(self, learner: MetaLearner) -> float:
        """What a head that has learned nothing reaches over episodes of all shapes; the same ones each time."""
        self.generator.manual_seed(0)
        with _one_thread():
            return sum(self.loss(learner, EPISODES)[1].item() for _ in range(DRAWS)) / DRAWS


def _gradient_head(learner: MetaLearner) -> GradientHead:
    assert isinstance(learner.head, GradientHead)
    return learner.head


def shapes(counts: NDArray[np.int64], source: str) -> list[tuple[int, int]]:
    """Ways and shots of the episodes that there are images for, out of how many each class has [classes].

    Raises:
        DataError: there are none.
    """

    def eligible(n_shot: int) -> int:
        return int((counts >= n_shot + N_QUERY).sum())

    found = [
        (n_way, n_shot)
        for n_shot in SHOTS
        for n_way in sorted({min(n_way, eligible(n_shot)) for n_way in WAYS})
        if eligible(n_shot) >= LEAST_WAYS and n_way * n_shot <= MOST_SHOTS
    ]
    if not found:
        raise DataError(
            f"{source}: {eligible(1)} of the {len(counts)} classes have {N_QUERY + 1} images or more, and the "
            f"head learns from {LEAST_WAYS} such classes or more; add images."
        )
    return found


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Thousands of small products in a row, before each of which threads would wait for each other: with a second one they took
    155 s instead of 5 on a machine that had something else to do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _frozen_features(drawing: TrainingData, learner: MetaLearner) -> EpisodeSampler:
    """Those of the training images, on their device: computed, or found in the cache."""
    backbone = learner.embedding.backbone
    if isinstance(backbone, Lite) and backbone.lacks_last_layer:
        raise EdgeAdaptError(
            "there are no published weights for the last layer of this backbone, and the method head-only trains none; train "
            "it by another method, such as distil, and give that run with --start-from."
        )
    was_training, data, device = learner.training, drawing.sampler.dataset, drawing.generator.device
    model = LearnerModel(learner.eval(), device)
    cache = drawing.cache or default_cache()
    features = cached_features(model, digest_of(learner.embedding), data, cache, drawing.progress)
    learner.train(was_training)
    return EpisodeSampler(torch.from_numpy(features).to(device), torch.from_numpy(data.starts), device)


@dataclass(frozen=True)
class HeadOnly(GradientMethod):
    """Leave the backbone as it is, and learn the last layer's few numbers."""

    name: ClassVar[str] = "head-only"
    summary: ClassVar[str] = "leave the backbone as it is, and learn the last layer's pull"
    leaves_backbone: ClassVar[bool] = True
    keeps_best: ClassVar[bool] = False
    """It learns for all numbers of ways and shots, and validation measures one."""
    learning_rate: ClassVar[float] = LEARNING_RATE
    centred: ClassVar[bool] = True
    iterations: ClassVar[int | None] = ITERATIONS
    minutes: ClassVar[float | None] = None

    steps: int = STEPS

    def objective(self, learner: MetaLearner, data: TrainingData) -> Objective:
        """See `HeadAlone`."""
        features = functools.partial(_frozen_features, data)
        return HeadAlone(features, data.sampler.dataset.source, data.units, self.steps, data.generator)

    def require(self, data: ImageDataset, episodes: EpisodeShape) -> None:
        """Raise DataError unless there are episodes of some kind."""
        shapes(data.counts, data.source)
