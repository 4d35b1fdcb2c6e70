"""A meta-model, which adapts, and what opens it or a classifier that it became."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle.bundle import Bundle, Manifest
from edge_adapt.runtime.classifier.classifier import Classifier, adapt
from edge_adapt.runtime.classifier.limits import check_classes, checked_steps
from edge_adapt.runtime.classifier.support import OTHER, SupportSet
from edge_adapt.runtime.errors import BundleError, DataError
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs, Trust, embedded_or_raise
from edge_adapt.runtime.images.images import ImageSource, named
from edge_adapt.runtime.regressor.head import for_values
from edge_adapt.runtime.regressor.regressor import Regressor, check_readings, regress, rows_of
from edge_adapt.runtime.sessions import Provider

if TYPE_CHECKING:
    from typing import SupportsIndex

    from numpy.typing import ArrayLike

MODELS = Path(__file__).parent / "models"
"""The folder of the bundled models."""


class MetaModel:
    """A meta-trained model, before it has seen any class of yours."""

    def __init__(self, graphs: Graphs) -> None:
        self.graphs = graphs

    def __repr__(self) -> str:
        return f"<MetaModel {self.manifest.name!r}: {self.graphs.bundle.path}>"

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about the model."""
        return self.graphs.manifest

    @property
    def location(self) -> str:
        """What `load` takes for it: the name of a bundled model, or the path of the file."""
        path = self.graphs.bundle.path
        return path.stem if path.parent == MODELS else os.fspath(path)

    def adapt(
        self, images: Mapping[str, Iterable[ImageSource]], steps: SupportsIndex | None = None, *, bgr: bool = False
    ) -> Classifier:
        """Learn new classes from a few images of each.

        The result depends on the images and labels alone, not on their order: see `SupportSet`.

        Args:
            images: label -> images; 2 labels or more, 1 image or more each, unequal counts welcome.
            steps: gradient steps; None takes the model's own number.
            bgr: the images are arrays whose channels are blue, green, red, as OpenCV gives them.

        Raises:
            ImageError: an image cannot be read, or is no array where `bgr` is said.
            DataError: fewer than two classes, a class without images or with a name that no bundle can hold, more than the
                model's limits, or steps so large that they diverge.
            EdgeAdaptError: steps that the model cannot take.
        """
        if not isinstance(images, Mapping):
            raise DataError(
                f"{images!r:.80} is not a mapping from class names to images; for a folder of photos call edge_adapt.adapt."
            )
        for label, of_label in images.items():
            if isinstance(of_label, (str, bytes, os.PathLike)):  # a string would pass for a list of one-letter paths
                raise DataError(f"class {label!r} is given one image where a list of images is due.")
        given = {label: list(of_label) for label, of_label in images.items()}
        self.check(given, steps)
        sources = [
            (label, named(image, f"image {number} of class {label!r}", bgr))
            for label, of_label in given.items()
            for number, image in enumerate(of_label, 1)
        ]
        shots: dict[str, list[EmbeddedImage]] = {label: [] for label in given}
        embedded = self.graphs.embed_all((source for _, source in sources), as_shots=True)
        for (label, _), image in zip(sources, embedded_or_raise(embedded), strict=True):
            shots[label].append(image)
        return self.adapt_embedded(shots, steps)

    def adapt_embedded(
        self, images: Mapping[str, Sequence[EmbeddedImage]], steps: SupportsIndex | None = None
    ) -> Classifier:
        """`adapt` on images that are embedded already, by `Graphs.embed_all` as shots."""
        self.check(images)
        return adapt(self.graphs, SupportSet.of_classes(images), steps)

    def regress(
        self,
        images: Iterable[ImageSource],
        values: ArrayLike,
        names: Sequence[str] = ("value",),
        steps: SupportsIndex | None = None,
        *,
        bgr: bool = False,
    ) -> Regressor:
        """Learn to read values from photos of known values.

        Any model can: one of classification is given a head with squared loss in place of its own.

        Args:
            images: M of them, 3 or more.
            values: what each reads: [M], or [M, T] of several.
            names: of the T values.
            steps, bgr: as of `adapt`.

        Raises:
            ImageError: an image cannot be read, or is no array where `bgr` is said.
            DataError: too few images or too many, values that do not fit, or one that is the same in all images.
            EdgeAdaptError: steps that the model cannot take.
        """
        unread = [named(image, f"image {number}", bgr) for number, image in enumerate(images, 1)]
        self.check_values(rows_of(values, len(unread), names), names, steps)
        embedded = embedded_or_raise(self.for_values.embed_all(unread, as_shots=True))
        return self.regress_embedded(list(embedded), values, names, steps)

    def regress_embedded(
        self,
        images: Sequence[EmbeddedImage],
        values: ArrayLike,
        names: Sequence[str] = ("value",),
        steps: SupportsIndex | None = None,
    ) -> Regressor:
        """`regress` on images that are embedded already, by the `embed_all` of `for_values`, as shots."""
        rows = rows_of(values, len(images), names)
        return regress(self.for_values, SupportSet(()).add_readings(images, rows), tuple(names), steps)

    @cached_property
    def for_values(self) -> Graphs:
        """The graphs that `regress` runs."""
        return for_values(self.graphs)

    def check_values(
        self, values: Sequence[tuple[float, ...]], names: Sequence[str], steps: SupportsIndex | None = None
    ) -> None:
        """Raise unless the model can learn these values [M][T] in so many steps, before any image is read."""
        check_readings(self.for_values, np.array(values, np.float32), names)
        checked_steps(self.for_values, steps)

    def check(self, images: Mapping[str, Sequence[object]], steps: SupportsIndex | None = None) -> None:
        """Raise unless the model can adapt to these classes (label -> images) in so many steps, before any image is read."""
        check_classes(self.graphs, {label: len(of_label) for label, of_label in images.items() if label != OTHER})
        checked_steps(self.graphs, steps)


def models() -> tuple[str, ...]:
    """The names of the bundled models."""
    return tuple(sorted(path.stem for path in MODELS.glob("*.edge")))


def load(
    model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None, trust: Trust = "known"
) -> MetaModel | Classifier | Regressor:
    """Open a bundle: a meta-model to `adapt`, a classifier to `classify` with, or a regressor to `predict` with.

    Args:
        model: a path, or the name of a bundled model.
        provider: what runs `embed`: `auto` takes CUDA where it comes up and else the CPU; `cpu`, `cuda`, `tensorrt`, `openvino`,
            `coreml`, `xnnpack` and `qnn` insist. `adapt` and `predict` are microseconds of work and stay on the CPU.
        threads: of the CPU; None takes all cores.
        trust: `unknown` runs the graphs of a file, not of a bundled model, in a child process that can compute and do nothing
            else, with limits on time and memory; see SECURITY.md.

    Raises:
        BundleError: the file is missing, damaged, or not a bundle of this version.
        ProviderError: a bundle of unknown origin on anything but the CPU.
        ProviderError: when `embed` first runs: the provider is not there, does not come up, or takes no part of it.
    """
    name = os.fspath(model)
    path = MODELS / f"{name}.edge" if name in models() else Path(name)
    if not path.exists() and path.suffix != ".edge" and path.name == name:
        known = ", ".join(models())
        raise BundleError(f"{name} is neither a file nor a bundled model ({known}).")
    graphs = Graphs(Bundle.open(path), provider, threads, "known" if path.parent == MODELS else trust)
    return adapted(graphs) if graphs.bundle.is_adapted else MetaModel(graphs)


def adapted(graphs: Graphs) -> Classifier | Regressor:
    """What a bundle that is adapted holds."""
    kind = Classifier if graphs.manifest.task == "classification" else Regressor
    return kind(graphs, graphs.bundle.head_state())


def load_model(
    model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None, trust: Trust = "known"
) -> MetaModel:
    """`load` where only a meta-model will do."""
    loaded = load(model, provider, threads, trust)
    if not isinstance(loaded, MetaModel):
        kind = "classifier" if isinstance(loaded, Classifier) else "regressor"
        raise BundleError(
            f"{os.fspath(model)} is an adapted {kind} where a meta-model is needed; give the model it was made from."
        )
    return loaded


def load_adapted(
    model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None, trust: Trust = "known"
) -> Classifier | Regressor:
    """`load` where only an adapted model will do."""
    loaded = load(model, provider, threads, trust)
    if isinstance(loaded, MetaModel):
        raise BundleError(
            f"{os.fspath(model)} is a meta-model that knows no classes yet; first run `edge-adapt adapt PHOTOS -o MINE.edge`."
        )
    return loaded


def load_classifier(
    model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None, trust: Trust = "known"
) -> Classifier:
    """`load` where only an adapted classifier will do."""
    loaded = load_adapted(model, provider, threads, trust)
    if isinstance(loaded, Regressor):
        raise _values(loaded)
    return loaded


def load_of_classes(
    model: str | os.PathLike[str], provider: Provider = "auto", threads: int | None = None, trust: Trust = "known"
) -> MetaModel | Classifier:
    """`load` where anything but a regressor will do."""
    loaded = load(model, provider, threads, trust)
    if isinstance(loaded, Regressor):
        raise _values(loaded)
    return loaded


def _values(regressor: Regressor) -> BundleError:
    return BundleError(
        f"{regressor.graphs.bundle.path} reads values where a classifier is needed; give one of classes."
    )
