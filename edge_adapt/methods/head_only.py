"""Meta-learning of a gradient head alone, on the features of a frozen backbone: its scale, rate, momentum and pull, five numbers.

Of 20 steps from the prototypes; `edge_adapt.networks.gradient_head.GradientHead` says what keeps them stable.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
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
from edge_adapt.runtime.progress import Progress

SHOTS, WAYS, N_QUERY = (1, 2, 5, 10, 20), (2, 5, 10, 20, 50, 100), 5
"""Episodes vary, so that what is learned does not depend on the number of shots or ways."""

MOST_SHOTS = 400
"""Support images of an episode at most: with more, a few episodes would take longer than all others."""

LEAST_WAYS = 5

STEPS = 20
"""Of the inner loop, where nothing else is said."""

ITERATIONS, EPISODES, LEARNING_RATE = 200, 4, 0.1

SCALE = 0.3
"""Of the prototypes before meta-training, in units of the features' variance: the start of steps that go on to the optimum, where
answers of their own would take four times as much."""


class FrozenFeatures(EpisodeSampler):
    """The features of a data set on the training device, and episodes of several shapes drawn from them.

    Args:
        features: float32 [I, D]; those of a class lie side by side.
        starts: int64 [classes + 1]; class c is features[starts[c]:starts[c + 1]].
        source: where they came from, for messages.

    Raises:
        DataError: fewer than `LEAST_WAYS` classes have the images for an episode.
    """

    def __init__(self, features: Tensor, starts: Tensor, source: str) -> None:
        super().__init__(features, starts, features.device)
        self.shapes = _shapes(starts.diff().cpu().numpy(), source)


def _shapes(counts: NDArray[np.int64], source: str) -> list[tuple[int, int]]:
    """Ways and shots of the episodes that there are images for, out of how many each class has [classes]."""

    def eligible(n_shot: int) -> int:
        return int((counts >= n_shot + N_QUERY).sum())

    shapes = [
        (n_way, n_shot)
        for n_shot in SHOTS
        for n_way in sorted({min(n_way, eligible(n_shot)) for n_way in WAYS})
        if eligible(n_shot) >= LEAST_WAYS and n_way * n_shot <= MOST_SHOTS
    ]
    if not shapes:
        raise DataError(
            f"{source}: {eligible(1)} of the {len(counts)} classes have {N_QUERY + 1} images or more, and the "
            f"head learns from {LEAST_WAYS} such classes or more; add images."
        )
    return shapes


def head_loss(
    head: GradientHead, features: FrozenFeatures, episodes: int, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The query loss of newly drawn episodes, of one number of ways and shots that is drawn too.

    Returns:
        The mean cross-entropy over the query sets (differentiable, scalar) and the share of right answers (scalar).
    """
    drawn = torch.randint(len(features.shapes), (), generator=generator, device=features.starts.device)
    n_way, n_shot = features.shapes[int(drawn)]
    rows = features.draw_episodes(episodes, n_way, n_shot + N_QUERY, generator)
    return last_layer_loss(head, rows, n_shot, steps)


class HeadAlone(WithoutState):
    """The objective of `HeadOnly`; see `edge_adapt.methods.objective.Objective`.

    The features are computed by `prepare`, from then on the backbone is not run any more.

    Args:
        data: the training classes.
        steps: of the inner loop.
    """

    def __init__(self, data: TrainingData, steps: int) -> None:
        self.units = data.units
        self.micro_batches: tuple[int, ...] = (data.units,)
        self._data, self._steps = data, steps

    def prepare(self, learner: MetaLearner) -> None:
        """Compute the features, or find them in the cache.

        Raises:
            EdgeAdaptError: the last layer of the backbone has not been trained, and would not be.
        """
        backbone = learner.embedding.backbone
        if isinstance(backbone, Lite) and backbone.lacks_last_layer:
            raise EdgeAdaptError(
                "there are no published weights for the last layer of this backbone, and the method head-only trains none; train "
                "it by another method, such as distil, and give that run with --start-from."
            )
        self._features = _frozen_features(learner, self._data)

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        """That of `head_loss`, on one thread: see `_one_thread`."""
        with _one_thread():
            loss = head_loss(_gradient_head(learner), self._features, count, self._steps, self._data.generator)
            return backpropagate(*loss, share)

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """Adam over the head alone."""
        return torch.optim.Adam(_gradient_head(learner).parameters(), lr=learning_rate)


def _gradient_head(learner: MetaLearner) -> GradientHead:
    assert isinstance(learner.head, GradientHead)
    return learner.head


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


def _frozen_features(learner: MetaLearner, drawing: TrainingData) -> FrozenFeatures:
    was_training, data, device = learner.training, drawing.sampler.dataset, drawing.generator.device
    model = LearnerModel(learner.eval(), device)
    cache = drawing.cache or default_cache()
    features = cached_features(model, digest_of(learner.embedding), data, cache, drawing.progress)
    learner.train(was_training)
    return FrozenFeatures(torch.from_numpy(features).to(device), torch.from_numpy(data.starts).to(device), data.source)


@torch.no_grad()
def expected_accuracy(head: GradientHead, features: FrozenFeatures, *, seed: int = 0, draws: int = 50) -> float:
    """What a head that has learned nothing yet reaches on the features, over episodes of all kinds; changes its scale."""
    _scale_to(head, features)
    generator = torch.Generator(features.starts.device).manual_seed(seed)
    with _one_thread():
        found = [head_loss(head, features, EPISODES, STEPS, generator)[1].item() for _ in range(draws)]
    return sum(found) / draws


@torch.no_grad()
def _scale_to(head: GradientHead, features: FrozenFeatures) -> None:
    """The order of magnitude of the scale follows from how far apart features lie."""
    head.log_scale.copy_((SCALE / features.rows.var(0).sum().clamp(min=1e-12)).log())


def meta_train_head(
    head: GradientHead,
    features: FrozenFeatures,
    *,
    steps: int = STEPS,
    iterations: int = ITERATIONS,
    seed: int = 0,
    progress: bool = False,
) -> None:
    """Learn the head's few numbers; changes `head`.

    Args:
        head: on the device of the features.
        features: of the classes to learn from.
        steps: of the inner loop.
        iterations: outer steps, of `EPISODES` episodes each.
        seed: of the episodes.
        progress: show a bar.
    """
    _scale_to(head, features)
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)
    generator = torch.Generator(features.starts.device).manual_seed(seed)
    with _one_thread(), Progress("meta-training", iterations, "steps", show=progress) as bar:
        for iteration in range(iterations):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * iteration / iterations)) / 2
            optimizer.zero_grad()
            loss, _ = head_loss(head, features, EPISODES, steps, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            bar.advance(1, f"loss {loss.item():.3f}")


@dataclass(frozen=True)
class HeadOnly(GradientMethod):
    """Leave the backbone as it is, and learn the last layer's few numbers."""

    name: ClassVar[str] = "head-only"
    summary: ClassVar[str] = "leave the backbone as it is, and learn the last layer's scale, rates, momentum and pull"
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
        return HeadAlone(data, self.steps)

    def require(self, data: ImageDataset, episodes: EpisodeShape) -> None:
        """Raise DataError unless there are episodes of some kind."""
        _shapes(data.counts, data.source)
