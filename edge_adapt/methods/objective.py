"""The outer loop: what a step of meta-training minimizes.

Most methods minimize the query loss over episodes, `Episodic`. Where the inner loop adapts the last layer or nothing at all, all
images of a micro-batch go through the backbone once, and the adaptations of its episodes are a few batched matrix products. An
inner loop on all layers runs an episode at a time on each core of a CPU (but for reptile's), and all at once on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from edge_adapt.methods import parallel_episodes
from edge_adapt.methods.augmentation import Augmentation
from edge_adapt.methods.episodes import EpisodeShape, ImageSampler, labels_of
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.networks.head import Head
from edge_adapt.networks.inner_loop import predict
from edge_adapt.networks.learner import MetaLearner

MULTI_STEP_SHARE = 0.1
"""The part of the training in which the query losses after earlier inner steps count."""


@dataclass(frozen=True)
class Teachers:
    """What a student learns from beside labels.

    Attributes:
        answers: pixels in 0..255, [B, H, W, C], to logits of the training classes [B, n_classes]; None for none.
        features: networks whose features to learn.
    """

    answers: Callable[[Tensor], Tensor] | None = None
    features: Sequence[FeatureTeacher] = ()


@dataclass(frozen=True)
class TrainingData:
    """What an objective draws from, and how much of it.

    Attributes:
        sampler: draws training images on the training device.
        generator: draws images, on the training device.
        episodes: how many classes and images an episode has.
        units: episodes, or images, in an outer step.
        augmentation: how images are changed.
        teachers: to distil.
        from_published: whether the backbone started from published weights, whose batch statistics are worth keeping.
        cache: the folder for features that are computed once; None takes the default.
        progress: show a bar where they are computed.
    """

    sampler: ImageSampler
    generator: torch.Generator
    episodes: EpisodeShape
    units: int
    augmentation: Augmentation
    teachers: Teachers = Teachers()
    from_published: bool = False
    cache: Path | None = None
    progress: bool = False

    def augmented_at(self, spent: float) -> Callable[[Tensor], Tensor] | None:
        """The augmentation where this share of the budget, 0 to 1, is behind; None leaves images alone."""
        return self.augmentation.at(spent, self.generator)


class StepMetrics(NamedTuple):
    """Of some units, or of an outer step.

    Attributes:
        loss: on average, without a gradient (scalar).
        accuracy: the share of right answers (scalar).
    """

    loss: Tensor
    accuracy: Tensor


class Objective(Protocol):
    """What an outer loop minimizes, as the gradient estimators of Metz et al. (learned_optimization, 2022) are: it leaves
    gradients, and whether they come from backpropagation or otherwise is its own business.

    Attributes:
        units: episodes (or images) in an outer step.
        micro_batches: how many to compute together may be worth trying; those that do not divide `units` are passed over.
    """

    units: int
    micro_batches: tuple[int, ...]

    def prepare(self, learner: MetaLearner) -> None:
        """Compute what no step changes; once, before the first step, one process after another."""

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        """Add the gradient of the mean over `count` newly drawn units, times `share`, to the parameters' own.

        `spent` is how much of the training budget is behind, 0 to 1.
        """

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """What minimizes it, over the parameters of the learner and its own; a group takes its "share" of the learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters of its own, for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """The inverse of `state_dict`."""


def backpropagate(loss: Tensor, accuracy: Tensor, share: float) -> StepMetrics:
    """Leave the gradient of a loss (differentiable, scalar) times `share`, outside of autocast."""
    with torch.autocast(loss.device.type, enabled=False):
        (loss * share).backward()  # type: ignore[no-untyped-call]
    return StepMetrics(loss.detach(), accuracy.to(loss))


class WithoutState:
    """An objective that has no parameters of its own, over everything that the learner learns."""

    def prepare(self, learner: MetaLearner) -> None:
        """Nothing."""

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(learner.parameters(), lr=learning_rate)

    def state_dict(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class Episodic(WithoutState):
    """The query loss of episodes after adapting to their support sets; see `Objective`.

    Args:
        data: what to draw from.
        steps: of the inner loop.
        multi_step_loss: count the query loss after every step of an inner loop on all layers at first.
    """

    micro_batches: tuple[int, ...] = (1, 2, 4, 8, 16)

    def __init__(self, data: TrainingData, steps: int, multi_step_loss: bool = False) -> None:
        self.units = data.units
        self._data, self._steps, self._multi_step_loss = data, steps, multi_step_loss

    def draw(self, count: int, learner: MetaLearner, spent: float) -> Tensor:
        """The images of `count` new episodes, normalized for the backbone: float32 [count, N, n_shot + n_query, C, H, W]."""
        data, shape = self._data, self._data.episodes
        images = data.sampler.draw_episodes(count, shape.n_way, shape.images, data.generator)
        return normalized_episodes(learner, images, data.augmented_at(spent))

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        """That of `query_loss`; on the cores of a CPU, where each can take episodes of its own, side by side."""
        several = self._multi_step_loss and spent < MULTI_STEP_SHARE
        weights = multi_step_weights(self._steps, spent) if several else None
        images = self.draw(count, learner, spent)

        def loss(learner: MetaLearner, images: Tensor) -> tuple[Tensor, Tensor]:
            return query_loss(learner, images, self._data.episodes.n_shot, self._steps, weights)

        if parallel_episodes.pays(learner, images):
            return StepMetrics(*parallel_episodes.accumulate(loss, learner, images, share))
        return backpropagate(*loss(learner, images), share)


def query_loss(
    learner: MetaLearner, images: Tensor, n_shot: int, steps: int, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The outer loss of some episodes.

    Args:
        learner: the model.
        images: normalized, float [E, N, n_shot + n_query, C, H, W].
        n_shot: how many images of each class are the support set.
        steps: of the inner loop.
        weights: of the query loss after each step of an inner loop on all layers [steps]; None takes the last alone.

    Returns:
        The head's loss over the query sets (differentiable, scalar) and the share of right answers (scalar).
    """
    if learner.inner_loop is not None:
        return _all_layers_loss(learner, images, n_shot, steps, weights)
    features = learner.embedding.features(images.flatten(0, 2)).view(*images.shape[:3], -1)
    return last_layer_loss(learner.head, features, n_shot, steps)


def last_layer_loss(head: Head, features: Tensor, n_shot: int, steps: int) -> tuple[Tensor, Tensor]:
    """As `query_loss`, of features of the episodes, float32 [E, N, n_shot + n_query, D]."""
    episodes, n_way, per_class = features.shape[:3]
    labels = labels_of(n_way, n_shot, features.device)
    query_labels = labels_of(n_way, per_class - n_shot, features.device)
    support, query = features[:, :, :n_shot].flatten(1, 2), features[:, :, n_shot:].flatten(1, 2)
    with torch.autocast(features.device.type, enabled=False):
        state, _ = head.adapt(support, labels.expand(episodes, -1), n_way, steps)
        logits = head.predict(query, state)
        loss = head.loss(logits, query_labels.expand(episodes, -1))
    return loss, _accuracy(logits, query_labels)


def _all_layers_loss(
    learner: MetaLearner, images: Tensor, n_shot: int, steps: int, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """As `query_loss`, of normalized images [E, N, n_shot + n_query, C, H, W]."""
    episodes, n_way, per_class = images.shape[:3]
    labels, query_labels = labels_of(n_way, n_shot, images.device), labels_of(n_way, per_class - n_shot, images.device)
    support, query = images[:, :, :n_shot].flatten(1, 2), images[:, :, n_shot:].flatten(1, 2)
    by_step = _logits_by_step(learner, support, query, labels, n_way, steps, weights is not None)
    of_queries = query_labels.expand(episodes, -1)
    losses = torch.stack([learner.head.loss(logits, of_queries) for logits in by_step.unbind(1)])
    loss = losses[-1] if weights is None else (losses * weights.to(losses)).sum()
    return loss, _accuracy(by_step[:, -1], query_labels)


def _accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.detach().argmax(-1) == labels).float().mean()


def normalized_episodes(
    learner: MetaLearner, images: Tensor, augmentation: Callable[[Tensor], Tensor] | None
) -> Tensor:
    """uint8 [E, N, K, H, W, C], augmented and normalized for the backbone: float32 [E, N, K, C, H, W]."""
    pixels = images.flatten(0, 2)
    if augmentation is not None:
        pixels = augmentation(pixels)
    normalized = learner.embedding.normalize(pixels).contiguous(memory_format=torch.channels_last)
    return normalized.view(*images.shape[:3], *normalized.shape[1:])


def multi_step_weights(steps: int, spent: float) -> Tensor:
    """The weights of the query losses after each inner step, float32 [steps], which add up to 1.

    Antoniou et al., "How to train your MAML", ICLR 2019, https://arxiv.org/abs/1810.09502, section 4: all steps weigh the same at
    first, and over the first tenth of the training the last one comes to count alone.
    """
    earlier = max(0.0, 1 - spent / MULTI_STEP_SHARE) / steps
    weights = torch.full((steps,), earlier)
    weights[-1] = 1 - earlier * (steps - 1)
    return weights


def _logits_by_step(
    learner: MetaLearner, support: Tensor, query: Tensor, labels: Tensor, n_way: int, steps: int, every: bool
) -> Tensor:
    """Logits [E, S, N * n_query] after an inner loop on all layers: after each of its steps, or (S of 1) after the last.

    Args:
        learner: with an inner loop on all layers.
        support, query: normalized images of each episode, float [E, N * n_shot, C, H, W] and [E, N * n_query, C, H, W].
        labels: of the support images, int64 [N * n_shot].
        n_way, steps: of the episodes and of the inner loop.
        every: whether to take the logits after each step.
    """
    loop, head = learner.all_layers()
    backbone = learner.embedding.backbone
    under_vmap = loop.at_once(support.device)

    def one(support: Tensor, query: Tensor) -> Tensor:
        reached = loop.trajectory(backbone, head, support[None], labels, n_way, steps, under_vmap)
        states = [state.parameters for state in reached]
        return torch.stack([predict(backbone, head, query, state) for state in (states[1:] if every else states[-1:])])

    if under_vmap:
        logits: Tensor = torch.vmap(one, randomness="different")(support, query)  # dropout, of each episode its own
        return logits
    return torch.stack([one(*episode) for episode in zip(support, query, strict=True)])
