"""A meta-model that adapts and a classifier that classifies: the three graphs of a bundle, called with images.

This file knows no method by name. It decodes images, calls `embed`, `adapt` and `predict`, and keeps what they give.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle import Adapted, Bundle, Manifest, Shot, write_bundle
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError
from edge_adapt.runtime.evaluation import BATCH, MAX_STEPS, HeadState
from edge_adapt.runtime.images import ImageSource, load_image, preprocess
from edge_adapt.runtime.leave_one_out import leave_one_out
from edge_adapt.runtime.sessions import Provider, Session, scalar
from edge_adapt.runtime.strict_json import is_line

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

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


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image as `embed` takes it, and which image it is.

    Attributes:
        name, sha256: see `edge_adapt.runtime.images.LoadedImage`.
        pixels: uint8 [H, W, C]; a photo takes a thousand times the memory, so none is kept longer than it takes to prepare it.
    """

    name: str
    sha256: str
    pixels: NDArray[np.uint8]


class Graphs:
    """The three graphs of a bundle, each loaded when it is first called.

    Args:
        bundle: the file.
        provider: what runs `embed`; the other two are microseconds of work and stay on the CPU.
        threads: of `embed` on the CPU; None takes all cores.
    """

    def __init__(self, bundle: Bundle, provider: Provider = "auto", threads: int | None = None) -> None:
        self.bundle = bundle
        self._provider: Provider = provider
        self._threads = threads

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about itself."""
        return self.bundle.manifest

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Preprocessed images, uint8 [B, H, W, C], to features, float32 [B, D]; B may be 0."""
        size = self.manifest.feature_size
        batches = [np.empty((0, size), np.float32)]
        for start in range(0, len(images), BATCH):
            batch = images[start : start + BATCH]
            features = self._embed.run({"images": batch})[0]
            batches.append(self._checked("embed.onnx", "features", features, (len(batch), size)))
        return np.concatenate(batches)

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """Support features [M, D] and labels [M] in 0..n_way-1 to the head state and the support loss before each step."""
        feeds: HeadState = {"features": features, "targets": labels, "n_way": scalar(n_way), "steps": scalar(steps)}
        outputs = dict(zip(self._adapt.outputs, self._adapt.run(feeds), strict=True))
        missing = {*self.manifest.head_state, "losses"} - set(outputs)
        if missing:
            raise BundleError(
                f"{self.bundle.path}: adapt.onnx gives no {sorted(missing)[0]!r}; export the bundle again."
            )
        state = {name: outputs[name] for name in self.manifest.head_state}
        return state, self._checked("adapt.onnx", "losses", outputs["losses"], (None,))

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """Query features [B, D] and the head state to logits [B, N]."""
        logits = self._predict.run({"features": features, **state})[0]
        return self._checked("predict.onnx", "logits", logits, (len(features), None))

    def _checked(
        self, graph: str, name: str, output: NDArray[Any], expected: tuple[int | None, ...]
    ) -> NDArray[np.float32]:
        """An output, if it has the dtype and shape (None: any length) that the format gives it; a bundle is data from outside."""
        fits = len(output.shape) == len(expected) and all(
            length in (None, found) for length, found in zip(expected, output.shape, strict=True)
        )
        if output.dtype != np.float32 or not fits:
            due = ", ".join("any" if length is None else str(length) for length in expected)
            raise BundleError(
                f"{self.bundle.path}: {graph} gives {name} as {output.dtype} {list(output.shape)} where float32 [{due}] is due; "
                "export the bundle again."
            )
        return output

    def prepare(self, source: ImageSource, name: str = "") -> PreparedImage:
        """Read an image and bring it to the model's pixels.

        Raises:
            ImageError: the image cannot be read.
        """
        preprocessing = self.manifest.preprocessing
        image = load_image(source, name, (preprocessing.width, preprocessing.height))
        return PreparedImage(image.name, image.sha256, preprocess(image.image, preprocessing))

    def check_task(self) -> None:
        """Raise BundleError unless the model classifies: the format has room for regression, which is not run here."""
        if self.manifest.task != "classification":
            raise BundleError(
                f"{self.bundle.path} is a {self.manifest.task} model; this edge-adapt adapts classification only."
            )

    @property
    def provider(self) -> str:
        """The execution provider that really runs `embed`, in ONNX Runtime's words."""
        return self._embed.provider

    @cached_property
    def _embed(self) -> Session:
        return self._session("embed.onnx", ("images",), self._provider, self._threads)

    @cached_property
    def _adapt(self) -> Session:
        self.check_task()
        return self._session("adapt.onnx", ("features", "targets", "n_way", "steps"))

    @cached_property
    def _predict(self) -> Session:
        self.check_task()
        return self._session("predict.onnx", ("features", *self.manifest.head_state))

    def _session(
        self, graph: str, inputs: tuple[str, ...], provider: Provider = "cpu", threads: int | None = 1
    ) -> Session:
        return Session(self.bundle.graph(graph), f"{self.bundle.path}: {graph}", inputs, provider, threads)


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
        prepared = {label: [self._prepare_shot(image) for image in of_label] for label, of_label in images.items()}
        return self.adapt_prepared(prepared, steps)

    def _prepare_shot(self, source: ImageSource) -> PreparedImage:
        """`Graphs.prepare`, named by the file alone: where it lay is nobody's business who gets the classifier."""
        image = self.graphs.prepare(source)
        return replace(image, name=Path(image.name).name)

    def adapt_prepared(self, images: Mapping[str, Sequence[PreparedImage]], steps: int | None = None) -> Classifier:
        """`adapt` on images that `Graphs.prepare` gave."""
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
        features = self.graphs.embed(np.stack([shot.pixels for _, shot in ordered]))
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
        return self.classify_prepared([self.graphs.prepare(image)])[0]

    def classify_all(self, images: Iterable[ImageSource]) -> list[Prediction]:
        """Classify several images; each as if it were alone."""
        return self.classify_prepared([self.graphs.prepare(image) for image in images])

    def classify_prepared(self, images: Sequence[PreparedImage]) -> list[Prediction]:
        """`classify_all` on images that `Graphs.prepare` gave."""
        if not images:
            return []
        features = self.graphs.embed(np.stack([image.pixels for image in images]))
        logits = self.graphs.predict(features, self._state).astype(np.float64)
        if logits.shape[1:] != (len(self.labels),) or not np.isfinite(logits).all():
            raise BundleError(
                f"{self.graphs.bundle.path}: predict.onnx gives no finite logits for {len(self.labels)} classes."
            )
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
        return [self._prediction(row) for row in probabilities]

    def _prediction(self, probabilities: NDArray[np.float64]) -> Prediction:
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
