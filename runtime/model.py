"""A meta-model that adapts and a classifier that classifies, and what opens them."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_adapt.runtime.bundle.bundle import Adapted, Bundle, Manifest, Shot, write_bundle
from edge_adapt.runtime.bundle.strict_json import is_line
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.contract import MAX_STEPS, HeadState
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs
from edge_adapt.runtime.images.images import ImageSource
from edge_adapt.runtime.sessions import Provider

MODELS = Path(__file__).parent / "models"
"""The folder of the bundled models."""

MAX_WAYS = 200
"""Classes that `adapt` takes at most."""


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


class MetaModel:
    """A meta-trained model, before it has seen any class of yours."""

    def __init__(self, graphs: Graphs) -> None:
        self.graphs = graphs

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about the model."""
        return self.graphs.manifest

    def adapt(self, images: Mapping[str, Iterable[ImageSource]], steps: int | None = None) -> Classifier:
        """Learn new classes from a few images of each.

        The result depends on the images and labels alone, not on their order: both are sorted first.

        Args:
            images: label -> images; 2 labels or more, 1 image or more each, unequal counts welcome.
            steps: gradient steps; None takes the model's own number.

        Raises:
            ImageError: an image cannot be read.
            DataError: fewer than two classes, a class without images or with a name that no bundle can hold, more than the
                model's limits, or steps so large that they diverge.
            EdgeAdaptError: fewer than 0 steps, or more than `MAX_STEPS`.
        """
        for label, of_label in images.items():
            if isinstance(of_label, (str, bytes, os.PathLike)):  # a string would pass for a list of one-letter paths
                raise DataError(f"class {label!r} is given one image where a list of images is due.")
        shots: dict[str, list[EmbeddedImage]] = {label: [] for label in images}
        sources = ((label, image) for label, of_label in images.items() for image in of_label)
        for label, shot in self.graphs.embed_each(_embed_shot, sources):
            shots[label].append(shot)
        return self.adapt_embedded(shots, steps)

    def adapt_embedded(self, images: Mapping[str, Sequence[EmbeddedImage]], steps: int | None = None) -> Classifier:
        """`adapt` on images that are embedded already, by `Graphs.embed_shot`."""
        self.check(images)
        labels = tuple(sorted(images))
        steps = self.manifest.default_steps if steps is None else operator.index(steps)
        if not 0 <= steps <= MAX_STEPS:
            raise EdgeAdaptError(f"{steps} steps are not possible; give 0 or more, {MAX_STEPS} at most.")
        ordered = [
            (index, shot)
            for index, label in enumerate(labels)
            for shot in sorted(images[label], key=lambda s: (s.sha256, s.name))
        ]
        features = np.stack([shot.features for _, shot in ordered])
        targets = np.array([index for index, _ in ordered], np.int64)
        state, losses = self.graphs.adapt(features, targets, len(labels), steps)
        for name, array in state.items():
            if not np.isfinite(array).all():
                raise DataError(
                    f"the adaptation diverged ({name!r} is not finite after {steps} steps); take fewer steps."
                )
        adapted = Adapted(
            labels=labels,
            shots=tuple(Shot(index, _one_line(shot.name), shot.sha256) for index, shot in ordered),
            steps=steps,
            losses=tuple(float(loss) for loss in losses),
            leave_one_out=leave_one_out(self.graphs, features, targets, len(labels), steps),
            head_state=state,
            support_features=features,
            support_targets=targets,
        )
        return Classifier(self.graphs, labels, state, adapted)

    def check(self, images: Mapping[str, Sequence[object]]) -> None:
        """Raise unless the model can adapt to these classes (label -> images), before any of the images is read."""
        self.graphs.check_task()
        if len(images) < 2:
            found = ", ".join(map(str, images)) or "none"
            raise DataError(f"adapting needs two classes or more ({found} given); add images of something else.")
        for label, of_label in images.items():
            if not isinstance(label, str) or not label or not is_line(label):
                raise DataError(f"{label!r} cannot be a class name, which is one line of text; rename the class.")
            if not of_label:
                raise DataError(f"class {label!r} has no images; add some or leave the class out.")
        ways, support = min(self.manifest.max_ways or MAX_WAYS, MAX_WAYS), self.manifest.max_support
        total = sum(len(of_label) for of_label in images.values())
        if len(images) > ways:
            raise DataError(
                f"there are {len(images)} classes and {self.manifest.name} takes at most {ways}; leave some out."
            )
        if support is not None and total > support:
            raise DataError(
                f"there are {total} support images and {self.manifest.name} takes at most {support}; leave some out."
            )


class Classifier:
    """A model adapted to classes of yours."""

    def __init__(
        self, graphs: Graphs, labels: tuple[str, ...], state: HeadState, adapted: Adapted | None = None
    ) -> None:
        self.graphs = graphs
        self.labels = labels
        self._state = state
        self._adapted = adapted

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about the model that was adapted."""
        return self.graphs.manifest

    @property
    def adapted(self) -> Adapted:
        """Shots, support loss, leave-one-out estimate and support features; read from the file when first asked for."""
        if self._adapted is None:
            self._adapted = self.graphs.bundle.adapted()
        return self._adapted

    def classify(self, image: ImageSource) -> Prediction:
        """Classify one image.

        Raises:
            ImageError: the image cannot be read.
        """
        return self.classify_embedded(self.graphs.embed_image(image))

    def classify_all(self, images: Iterable[ImageSource]) -> list[Prediction]:
        """Classify several images; each as if it were alone."""
        return [self.classify_embedded(image) for image in self.graphs.embed_each(Graphs.embed_image, images)]

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
        write_bundle(path, self.manifest, {name: bundle.graph(name) for name in self.manifest.graphs}, self.adapted)


def _embed_shot(graphs: Graphs, labelled: tuple[str, ImageSource]) -> tuple[str, EmbeddedImage]:
    """A shot is named by its file alone: where it lay is nobody's business who gets the classifier."""
    label, source = labelled
    image = graphs.embed_shot(source)
    return label, replace(image, name=Path(image.name).name)


def _one_line(name: str) -> str:
    """A file name as a bundle can hold it: a file system allows line breaks, a bundle does not."""
    return name if is_line(name) else "".join(character if is_line(character) else "?" for character in name)


def model_names() -> tuple[str, ...]:
    """The names of the bundled models."""
    return tuple(sorted(path.stem for path in MODELS.glob("*.edge")))


def load(
    model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None
) -> MetaModel | Classifier:
    """Open a bundle: a meta-model to `adapt`, or a classifier to `classify` with.

    Args:
        model: a path, or the name of a bundled model.
        provider: `auto` runs `embed` on CUDA where it comes up, `cpu` and `cuda` insist.
        threads: of the CPU; None takes all cores.

    Raises:
        BundleError: the file is missing, damaged, or not a bundle of this version.
    """
    name = os.fspath(model)
    path = MODELS / f"{name}.edge" if name in model_names() else Path(name)
    if not path.exists() and path.suffix != ".edge" and path.name == name:
        known = ", ".join(model_names())
        raise BundleError(f"{name} is neither a file nor a bundled model ({known}).")
    graphs = Graphs(Bundle.open(path), provider, threads)
    if graphs.bundle.is_adapted:
        return Classifier(graphs, graphs.bundle.labels(), graphs.bundle.head_state())
    return MetaModel(graphs)


def load_model(model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None) -> MetaModel:
    """`load` where only a meta-model will do."""
    loaded = load(model, provider, threads)
    if isinstance(loaded, Classifier):
        raise BundleError(
            f"{os.fspath(model)} is an adapted classifier where a meta-model is needed; give the model it was made from."
        )
    return loaded


def load_classifier(
    model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None
) -> Classifier:
    """`load` where only an adapted classifier will do."""
    loaded = load(model, provider, threads)
    if isinstance(loaded, MetaModel):
        raise BundleError(
            f"{os.fspath(model)} is a meta-model that knows no classes yet; first run `edge-adapt adapt PHOTOS -o MINE.edge`."
        )
    return loaded
