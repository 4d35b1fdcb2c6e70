"""Accuracy over episodes, of a bundle as a device would run it or of a model in PyTorch. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge_adapt.runtime.contract import BATCH
from edge_adapt.runtime.errors import EdgeAdaptError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_adapt.runtime.contract import EpisodeModel
    from edge_adapt.runtime.data.dataset import ImageDataset
    from edge_adapt.runtime.data.episodes import EvaluationProtocol
    from edge_adapt.runtime.images.views import View


@dataclass(frozen=True)
class Evaluation:
    """An accuracy and how it was measured.

    Attributes:
        accuracy: the mean over episodes of the share of right answers, a fraction.
        ci95: half the width of its 95% confidence interval over episodes.
        protocol: over which episodes, and with how many steps.
    """

    accuracy: float
    ci95: float
    protocol: EvaluationProtocol


class Features(NamedTuple):
    """The features of every image of a data set, which do not depend on the episode; without views, both are the same array."""

    queries: NDArray[np.float32]
    """float32 [I, D], each image as it is."""
    shots: NDArray[np.float32]
    """float32 [I, D], each image as it is looked at in a support set."""

    def of(self, images: NDArray[np.int64] | slice) -> Features:
        """Those of some of the images."""
        return Features(self.queries[images], self.shots[images])


def embed_dataset(
    model: EpisodeModel, data: ImageDataset, views: Sequence[View] = (), *, progress: bool = False
) -> Features:
    """Embed every image once, and once for each view of it that a support set takes.

    Args:
        model: `embed` computes the features.
        data: I images.
        views: of support images beside as they are; with none, an image has the same features as a shot and as a query.
        progress: show a bar.
    """
    from edge_adapt.runtime.images.views import shot_features
    from edge_adapt.runtime.progress import Progress

    with Progress("embedding", len(data.images), "images", show=progress) as bar:
        queries, shots = [], []
        for start in range(0, len(data.images), BATCH):
            images = data.images[start : start + BATCH]
            queries.append(model.embed(images))
            if views:
                shots.append(shot_features(model.embed, images, views, queries[-1]))
            bar.advance(len(images))
    together = np.concatenate(queries)
    return Features(together, np.concatenate(shots) if views else together)


def evaluate_episodes(
    model: EpisodeModel,
    data: ImageDataset,
    protocol: EvaluationProtocol,
    *,
    views: Sequence[View] = (),
    features: Features | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a model over random episodes, each query on its own (non-transductive).

    Args:
        model: what is measured.
        data: what the episodes are drawn from.
        protocol: which episodes, and the number of steps, which has to be given here: a model by itself knows none.
        views: of support images beside as they are, as the card of a model lists them; `features` have them already.
        features: what `embed_dataset` gave for this model and data, to measure several things on it; None embeds here.
        progress: show a bar.

    Raises:
        DataError: the data set is too small for such episodes.
        EdgeAdaptError: no number of steps, or features of another number of images.
    """
    # Not needed to classify, and a device that classifies starts sooner without.
    from edge_adapt.runtime.data.episodes import draw_episodes
    from edge_adapt.runtime.progress import Progress

    steps = protocol.steps
    if steps is None:
        raise EdgeAdaptError("the protocol says no number of steps; give one.")
    drawn = draw_episodes(data, protocol)
    if features is None:
        features = embed_dataset(model, data, views, progress=progress)
    elif len(features.queries) != len(data.images):
        raise EdgeAdaptError(
            f"{data.source}: there are {len(data.images)} images and features of {len(features.queries)}."
        )
    accuracies = []
    with Progress("evaluating", protocol.episodes, "episodes", show=progress) as bar:
        for episode in drawn:
            state, _ = model.adapt(features.shots[episode.support], episode.support_labels, protocol.n_way, steps)
            logits = model.predict(features.queries[episode.query], state)
            accuracies.append(float((logits.argmax(axis=1) == episode.query_labels).mean()))
            bar.advance()
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return Evaluation(float(np.mean(accuracies)), 1.96 * spread / len(accuracies) ** 0.5, protocol)
