"""The outer loop: what a step of meta-training minimizes.

Most methods minimize the query loss over episodes, `Episodic`. Where the inner loop adapts the last layer or nothing at all, all
images of a piece of the meta-batch go through the backbone once, and the adaptations of its episodes are a few batched matrix
products. An inner loop on all layers runs an episode at a time on each core of a CPU (but for
reptile's), and all at once on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from edge_adapt.methods.episodes import ImageSampler, labels_of
from edge_adapt.methods.parallel_episodes import pays, side_by_side
from edge_adapt.networks.inner_loop import predict
from edge_adapt.networks.learner import MetaLearner

if TYPE_CHECKING:
    from edge_adapt.methods.feature_teacher import FeatureTeacher
    from edge_adapt.training.config import TrainingConfig
    from edge_adapt.training.teacher import Teacher


MULTI_STEP_SHARE = 0.1
"""The part of the training in which the query losses after earlier inner steps count."""


class TrainingData(NamedTuple):
    """What an objective draws from.

    Attributes:
        sampler: draws training images on the training device.
        generator: draws images, on the training device.
        classified: how many numbers a classifier of the training classes looks at.
        augmentation: changes images a little, as `edge_adapt.methods.augmentation.augment` does, at a share of the budget that is
            behind, 0 to 1; None leaves them alone.
        teacher: to distil, for `classify`.
        cache: the folder for the features that `head` and `distil` learn from; None takes the default.
        progress: show a bar where they are computed.
        feature_size: how many numbers the backbone gives.
        feature_teachers: whose features to learn, for `distil`.
    """

    sampler: ImageSampler
    generator: torch.Generator
    classified: int
    augmentation: Callable[[Tensor, float], Tensor] | None = None
    teacher: Teacher | None = None
    cache: Path | None = None
    progress: bool = False
    feature_size: int = 0
    feature_teachers: Sequence[FeatureTeacher] = ()

    def augmentation_at(self, spent: float) -> Callable[[Tensor], Tensor] | None:
        """The augmentation where this share of the budget, 0 to 1, is behind."""
        augmentation = self.augmentation
        return None if augmentation is None else lambda images: augmentation(images, spent)


class Objective(Protocol):
    """A loss over random images, computed piece by piece.

    Attributes:
        units: episodes (or images) in an outer step.
        pieces: how many to compute together may be worth trying; those that do not divide `units` are passed over.
    """

    units: int
    pieces: tuple[int, ...]

    def prepare(self, learner: MetaLearner) -> None:
        """Compute what no step changes; once, before the first loss, one process after another."""

    def loss(self, learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        """The mean loss over `count` newly drawn units (differentiable, scalar) and the share of right answers (scalar).

        `spent` is how much of the training budget is behind, 0 to 1.
        """

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """What minimizes it, over the parameters of the learner and its own; a group takes its "share" of the learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Parameters of its own, for a checkpoint."""

    def load_state_dict(self, state: Mapping[str, Any]) -> Any:
        """The inverse of `state_dict`."""


class WithoutState:
    """An objective that has no parameters of its own."""

    def prepare(self, learner: MetaLearner) -> None:
        """Nothing."""

    def state_dict(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""


class Episodic(WithoutState):
    """The query loss of episodes after adapting to their support sets; see `Objective`.

    Args:
        config: ways, shots, queries, steps, and how many episodes a step takes.
        data: what to draw from.
    """

    pieces: tuple[int, ...] = (1, 2, 4, 8, 16)

    def __init__(self, config: TrainingConfig, data: TrainingData) -> None:
        self.units = config.meta_batch
        self._data, self._config = data, config

    def draw(self, count: int) -> Tensor:
        """The images of `count` new episodes, uint8 [count, N, n_shot + n_query, H, W, C]."""
        config, data = self._config, self._data
        return data.sampler.draw_episodes(count, config.n_way, config.n_shot + config.n_query, data.generator)

    def loss(self, learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        """See `query_loss`."""
        config = self._config
        several = config.multi_step_loss and spent < MULTI_STEP_SHARE
        weights = multi_step_weights(config.inner_steps, spent) if several else None
        return query_loss(
            learner, self.draw(count), config.n_shot, config.inner_steps, self._data.augmentation_at(spent), weights
        )

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """Adam over everything that the learner learns."""
        return torch.optim.Adam(learner.parameters(), lr=learning_rate)


def query_loss(
    learner: MetaLearner,
    images: Tensor,
    n_shot: int,
    steps: int,
    augmentation: Callable[[Tensor], Tensor] | None = None,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The outer loss of some episodes.

    Args:
        learner: the model.
        images: uint8 [E, N, n_shot + n_query, H, W, C], as `ImageSampler.draw_episodes` gives them.
        n_shot: how many images of each class are the support set.
        steps: of the inner loop.
        augmentation: as of `TrainingData.augmentation_at`.
        weights: of the query loss after each step of an inner loop on all layers [steps]; None takes the last alone.

    Returns:
        The head's loss over the query sets (differentiable, scalar) and the share of right answers (scalar).
    """
    normalized = normalized_episodes(learner, images, augmentation)
    if learner.inner_loop is None:
        return _last_layer_loss(learner, normalized, n_shot, steps)

    def loss(learner: MetaLearner, normalized: Tensor) -> tuple[Tensor, Tensor]:
        return _all_layers_loss(learner, normalized, n_shot, steps, weights)

    return side_by_side(loss, learner, normalized) if pays(learner, normalized) else loss(learner, normalized)


def _last_layer_loss(learner: MetaLearner, images: Tensor, n_shot: int, steps: int) -> tuple[Tensor, Tensor]:
    """As `query_loss`, of normalized images [E, N, n_shot + n_query, C, H, W]."""
    episodes, n_way, per_class = images.shape[:3]
    labels, query_labels = labels_of(n_way, n_shot, images.device), labels_of(n_way, per_class - n_shot, images.device)
    features = learner.embedding.features(images.flatten(0, 2)).view(episodes, n_way, per_class, -1)
    support, query = features[:, :, :n_shot].flatten(1, 2), features[:, :, n_shot:].flatten(1, 2)
    with torch.autocast(images.device.type, enabled=False):
        state, _ = learner.adapt(support, labels.expand(episodes, -1), n_way, steps)
        logits = learner.predict(query, state)
        loss = learner.head.loss(logits, query_labels.expand(episodes, -1))
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
