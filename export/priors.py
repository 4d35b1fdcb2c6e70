"""What meta-training says of classifiers to come: the scores of images of their classes, and the temperature.

Both are measured on episodes over training classes. In every other episode the classes are alike, as a user's often are: a model
tells training classes apart better than new ones.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.bundle.bundle import Bundle, write_bundle
from edge_adapt.runtime.bundle.card import Priors
from edge_adapt.runtime.classifier.calibration import negative_log_likelihood, prior_temperature
from edge_adapt.runtime.classifier.rejection import Likeness, own_logit
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.evaluation import Features, embed_dataset
from edge_adapt.runtime.images.views import View

WAYS, SHOTS, QUERIES, EPISODES = (2, 5, 10, 20), (1, 2, 5), 30, 240

_TEMPERATURES = np.linspace(-3, 1, 41), np.linspace(-1, 1, 11)


@dataclass(frozen=True, eq=False)
class _Outcome:
    """What an episode gives: shots of a class, the scores and logits of its queries, and how alike its classes are."""

    n_shot: int
    scores: NDArray[np.float64]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    between: float


def learn_priors(
    model: EpisodeModel,
    data: ImageDataset,
    steps: int,
    views: Sequence[View] = (),
    *,
    seed: int = 0,
    progress: bool = False,
) -> Priors | None:
    """Learn the priors of a model.

    Args:
        model: embeds, adapts and predicts.
        data: images of training classes.
        steps: of the inner loop.
        views: of support images.
        seed: of the episodes.
        progress: show a bar.

    Returns:
        The priors; None where fewer than two classes have two images.
    """
    counts = np.diff(data.starts)
    shapes = sorted({(min(way, int((counts > shot).sum())), shot) for shot in SHOTS for way in WAYS})
    shapes = [(way, shot) for way, shot in shapes if way > 1]
    if not shapes:
        return None
    features = embed_dataset(model, data, views, progress=progress)
    random = np.random.default_rng(seed)
    means = np.add.reduceat(features.shots.astype(np.float64), data.starts[:-1]) / counts[:, None]
    means -= means.mean(axis=0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    outcomes = []
    for episode in range(EPISODES):
        way, shot = shapes[episode // 2 % len(shapes)]
        enough = np.flatnonzero(counts > shot)
        if episode % 2:
            alike = means[enough] @ means[random.choice(enough)]
            classes = random.permutation(enough[np.argsort(-alike)[:way]])
        else:
            classes = random.choice(enough, way, replace=False)
        outcomes.append(_outcome(model, features, data.starts, classes, shot, steps, random))
    return _fitted(outcomes)


def _outcome(
    model: EpisodeModel,
    features: Features,
    starts: NDArray[np.int64],
    classes: NDArray[np.int64],
    n_shot: int,
    steps: int,
    random: np.random.Generator,
) -> _Outcome:
    n_way, n_query = len(classes), -(-QUERIES // len(classes))
    orders = [starts[chosen] + random.permutation(starts[chosen + 1] - starts[chosen]) for chosen in classes]
    support = features.shots[np.concatenate([order[:n_shot] for order in orders])]
    queries = [order[n_shot : n_shot + n_query] for order in orders]
    query = features.queries[np.concatenate(queries)]
    labels = np.repeat(np.arange(n_way), n_shot)
    state, _ = model.adapt(support, labels, n_way, steps)
    likeness = Likeness.of(support, labels, own_logit(model.predict(support, state), labels))
    logits = model.predict(query, state)
    asked = np.repeat(np.arange(n_way), [len(of_class) for of_class in queries])
    return _Outcome(n_shot, likeness.scores(query, logits), logits, asked, likeness.between)


def _fitted(outcomes: Sequence[_Outcome]) -> Priors:
    """Least squares for the mean score, and the least cross-entropy for the temperature, each episode counting alike."""
    of_one = np.array([1 / outcome.n_shot for outcome in outcomes])
    means = np.array([outcome.scores.mean() for outcome in outcomes])
    (score, score_of_one_shot), *_ = np.linalg.lstsq(np.stack([np.ones_like(of_one), of_one], 1), means, rcond=None)
    spread = float(np.mean([outcome.scores.var() for outcome in outcomes])) ** 0.5
    logarithms, of_one_shots = map(np.ravel, np.meshgrid(*_TEMPERATURES, indexing="ij"))
    losses = sum(_losses(outcome, logarithms, of_one_shots) for outcome in outcomes)
    best = int(np.argmin(losses))
    return Priors(float(score), float(score_of_one_shot), spread, float(logarithms[best]), float(of_one_shots[best]))


def _losses(
    outcome: _Outcome, logarithms: NDArray[np.float64], of_one_shots: NDArray[np.float64]
) -> NDArray[np.float64]:
    temperatures = prior_temperature(outcome.n_shot, outcome.between, logarithms, of_one_shots)
    losses: NDArray[np.float64] = negative_log_likelihood(outcome.logits, outcome.labels, temperatures).mean(axis=1)
    return losses


def record_priors(path: str | os.PathLike[str], priors: Priors | None) -> None:
    """Put priors in the place of those that a bundle has; its graphs stay as they are."""
    bundle = Bundle.open(path)
    write_bundle(path, replace(bundle.manifest, priors=priors), bundle.graphs())
