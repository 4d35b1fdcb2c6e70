"""A model adapted to classes of yours: what it was adapted to, and what it says of an image."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle.bundle import Adaptation, Manifest, write_bundle
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.classifier.support import SupportSet
from edge_adapt.runtime.contract import MAX_STEPS, HeadState
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs
from edge_adapt.runtime.images.images import ImageSource, named

if TYPE_CHECKING:
    from typing import SupportsIndex


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of an image.

    Attributes:
        label: the most probable class.
        confidence: its probability, 0 to 1.
        scores: the probability of every class, the most probable first; they add up to 1.
    """

    label: str
    confidence: float
    scores: Mapping[str, float]


class Classifier:
    """A model adapted to classes of yours; `MetaModel.adapt` makes one, and `load` opens one that was saved."""

    def __init__(
        self, graphs: Graphs, labels: tuple[str, ...], state: HeadState, adaptation: Adaptation | None = None
    ) -> None:
        self.graphs = graphs
        self.labels = labels
        self._state = state
        self._adaptation = adaptation

    def __repr__(self) -> str:
        return f"<Classifier of {self.manifest.name!r}: {', '.join(self.labels[:5])}{', ...' * (len(self.labels) > 5)}>"

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about the model that was adapted."""
        return self.graphs.manifest

    @property
    def adaptation(self) -> Adaptation:
        """Shots, support loss, leave-one-out estimate and support features; read from the file when first asked for."""
        if self._adaptation is None:
            self._adaptation = self.graphs.bundle.adaptation()
        return self._adaptation

    @cached_property
    def support(self) -> SupportSet:
        """What it was adapted to."""
        return SupportSet.read(self.adaptation)

    def classify(self, image: ImageSource) -> Prediction:
        """Classify one image.

        Raises:
            ImageError: the image cannot be read.
        """
        return self.classify_embedded(self.graphs.embed_image(named(image)))

    def classify_all(self, images: Iterable[ImageSource]) -> list[Prediction | EdgeAdaptError]:
        """Classify several images, each as if it were alone; in place of one that cannot be read stands the error."""
        sources = (named(image, f"image {number}") for number, image in enumerate(images, 1))
        return [
            image if isinstance(image, EdgeAdaptError) else self.classify_embedded(image)
            for image in self.graphs.embed_all(sources)
        ]

    def classify_embedded(self, image: EmbeddedImage) -> Prediction:
        """`classify` on an image that is embedded already."""
        logits = self.graphs.predict(image.features[None], self._state)[0].astype(np.float64)
        if logits.shape != (len(self.labels),) or not np.isfinite(logits).all():
            raise BundleError(
                f"{self.graphs.bundle.path}: predict.onnx gives no finite logits for {len(self.labels)} classes."
            )
        exponentials = np.exp(logits - logits.max())
        probabilities = exponentials / exponentials.sum()
        order = np.argsort(-probabilities, kind="stable")
        scores = {self.labels[index]: float(probabilities[index]) for index in order}
        label = self.labels[order[0]]
        return Prediction(label, scores[label], scores)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the classifier as one `.edge` file, whole or not at all.

        Raises:
            EdgeAdaptError: the file cannot be written.
        """
        bundle = self.graphs.bundle
        write_bundle(path, self.manifest, {name: bundle.graph(name) for name in self.manifest.graphs}, self.adaptation)


def adapt(graphs: Graphs, support: SupportSet, steps: SupportsIndex | None = None) -> Classifier:
    """The classifier of a support set. It follows from the shots alone: neither their order nor what was learned before counts.

    Args:
        graphs: of the model.
        support: the shots.
        steps: gradient steps; None takes the model's own number.

    Raises:
        DataError: so many steps, or such images, that the adaptation diverges.
        EdgeAdaptError: a number of steps that is not whole, is below 0 or above `MAX_STEPS`, or is above 0 for a model that takes
            no steps.
    """
    count = checked_steps(graphs, steps)
    task = (support.features, support.targets, len(support.labels), count)
    state, losses = graphs.adapt(*task)
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise DataError(f"the adaptation diverged ({name!r} is not finite after {count} steps); take fewer steps.")
    adaptation = Adaptation(
        labels=support.labels,
        shots=support.shots,
        steps=count,
        losses=tuple(float(loss) for loss in losses),
        leave_one_out=leave_one_out(graphs, *task).accuracy,
        head_state=state,
        support_features=support.features,
        support_targets=support.targets,
    )
    return Classifier(graphs, support.labels, state, adaptation)


def checked_steps(graphs: Graphs, steps: SupportsIndex | None) -> int:
    """The number of steps to take; raises EdgeAdaptError as `adapt` does."""
    if steps is None:
        return graphs.manifest.default_steps
    try:
        count = operator.index(steps)
    except TypeError:
        raise EdgeAdaptError(
            f"{steps!r} steps are not possible; give a whole number, or None for the model's."
        ) from None
    if not 0 <= count <= MAX_STEPS:
        raise EdgeAdaptError(f"{count} steps are not possible; give 0 or more, {MAX_STEPS} at most.")
    if count and not graphs.takes_steps:
        raise EdgeAdaptError(f"{graphs.manifest.name} takes no gradient steps; leave the number of steps out.")
    return count
