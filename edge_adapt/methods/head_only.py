"""Meta-learning of a gradient head alone, on the features of a frozen backbone: its scale, rate, momentum and pull, five numbers.

Of 20 steps from the prototypes; `edge_adapt.networks.gradient_head.GradientHead` says what keeps them stable.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from edge_adapt.methods.episodes import labels_of
from edge_adapt.methods.feature_cache import cached_features, digest_of
from edge_adapt.methods.method import Method
from edge_adapt.methods.objective import TrainingData, WithoutState
from edge_adapt.networks.backbones import Lite
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.pixel_cache import default_cache
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.progress import Progress

if TYPE_CHECKING:
    from edge_adapt.training.config import TrainingConfig

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


class FrozenFeatures:
    """The features of a data set on the training device, and episodes drawn from them.

    Args:
        features: float32 [I, D]; those of a class lie side by side.
        starts: int64 [classes + 1]; class c is features[starts[c]:starts[c + 1]].
        source: where they came from, for messages.

    Raises:
        DataError: fewer than `LEAST_WAYS` classes have the images for an episode.
    """

    def __init__(self, features: Tensor, starts: Tensor, source: str) -> None:
        self.features = features
        self._starts, self._counts = starts[:-1], starts.diff()
        self._missing = torch.arange(int(self._counts.max()), device=features.device) >= self._counts.unsqueeze(1)
        self.shapes = _shapes(self._counts.cpu().numpy(), source)

    def draw(self, episodes: int, n_way: int, n_shot: int, generator: torch.Generator) -> Tensor:
        """Draw episodes among the classes that have the images.

        Returns:
            float32 [episodes, n_way, n_shot + N_QUERY, D].
        """
        device, per_class = self.features.device, n_shot + N_QUERY
        keys = torch.rand(episodes, len(self._counts), generator=generator, device=device)
        classes = keys.masked_fill(self._counts < per_class, -1).topk(n_way, dim=1).indices  # [E, N]
        keys = torch.rand(episodes, n_way, self._missing.shape[1], generator=generator, device=device)
        members = keys.masked_fill(self._missing[classes], -1).topk(per_class, dim=2).indices  # [E, N, per_class]
        return self.features[self._starts[classes].unsqueeze(-1) + members]


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


def _require(data: ImageDataset) -> None:
    _shapes(data.counts, data.source)


def head_loss(
    head: GradientHead, features: FrozenFeatures, episodes: int, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The query loss of newly drawn episodes, of one number of ways and shots that is drawn too.

    Returns:
        The mean cross-entropy over the query sets (differentiable, scalar) and the share of right answers (scalar).
    """
    device = features.features.device
    drawn = torch.randint(len(features.shapes), (), generator=generator, device=device)
    n_way, n_shot = features.shapes[int(drawn)]
    images = features.draw(episodes, n_way, n_shot, generator)
    support, query = images[:, :, :n_shot].flatten(1, 2), images[:, :, n_shot:].flatten(1, 2)
    with torch.autocast(device.type, enabled=False):
        state, _ = head.adapt(support, labels_of(n_way, n_shot, device).expand(episodes, -1), n_way, steps)
        logits = head.predict(query, state)
    labels = labels_of(n_way, N_QUERY, device).expand(episodes, -1)
    loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    return loss, (logits.detach().argmax(-1) == labels).float().mean()


class HeadAlone(WithoutState):
    """The objective of `method="head"`, for the one training loop: see `edge_adapt.methods.objective.Objective`.

    The features are computed by `prepare`, from then on the backbone is not run any more.

    Args:
        config: steps of the inner loop, and how many episodes an outer step takes.
        data: the training classes.
    """

    def __init__(self, config: TrainingConfig, data: TrainingData) -> None:
        self.units = config.meta_batch
        self.pieces: tuple[int, ...] = (config.meta_batch,)
        self._data, self._steps = data, config.inner_steps

    def prepare(self, learner: MetaLearner) -> None:
        """Compute the features, or find them in the cache.

        Raises:
            EdgeAdaptError: the last layer of the backbone has not been trained, and would not be.
        """
        backbone = learner.embedding.backbone
        if isinstance(backbone, Lite) and backbone.lacks_last_layer:
            raise EdgeAdaptError(
                "there are no published weights for the last layer of this backbone, and the method head trains none; train it "
                "by another method, such as distil, and give that run with --start-from."
            )
        self._features = _frozen_features(learner, self._data)

    def loss(self, learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        """See `head_loss`."""
        head = _gradient_head(learner)
        parameters = [parameter for parameter in head.parameters() if parameter.requires_grad]
        with _one_thread():
            loss, accuracy = head_loss(head, self._features, count, self._steps, self._data.generator)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        # The loop goes backward with all threads; what it finds has the value and the gradient, and no more to compute.
        found = loss.detach()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                found = found + ((parameter - parameter.detach()) * gradient).sum()
        return found, accuracy

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
    generator = torch.Generator(features.features.device).manual_seed(seed)
    with _one_thread():
        found = [head_loss(head, features, EPISODES, STEPS, generator)[1].item() for _ in range(draws)]
    return sum(found) / draws


@torch.no_grad()
def _scale_to(head: GradientHead, features: FrozenFeatures) -> None:
    """The order of magnitude of the scale follows from how far apart features lie."""
    head.log_scale.copy_((SCALE / features.features.var(0).sum().clamp(min=1e-12)).log())


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
    generator = torch.Generator(features.features.device).manual_seed(seed)
    with _one_thread(), Progress("meta-training", iterations, "steps", show=progress) as bar:
        for iteration in range(iterations):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * iteration / iterations)) / 2
            optimizer.zero_grad()
            loss, _ = head_loss(head, features, EPISODES, steps, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            bar.advance(1, f"loss {loss.item():.3f}")


METHOD = Method(
    "leave the backbone as it is, and learn the last layer's scale and rates",
    objective=HeadAlone,
    default_steps=STEPS,
    require=_require,
    keeps_best=False,  # it learns for all numbers of ways and shots, and validation measures one
)
