"""A model adapted to photos of known values: what it was adapted to, and what it reads from a photo."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle.bundle import Adaptation, ReadingErrors
from edge_adapt.runtime.bundle.history_json import History
from edge_adapt.runtime.bundle.strict_json import is_line
from edge_adapt.runtime.classifier.adapted import Adapted
from edge_adapt.runtime.classifier.limits import checked_steps
from edge_adapt.runtime.classifier.support import NO_CLASS, SupportSet
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs
from edge_adapt.runtime.images.images import ImageSource, UnreadImage, named
from edge_adapt.runtime.regressor.left_out import adapt_to_values, errors_of, values_left_out
from edge_adapt.runtime.words import plural

if TYPE_CHECKING:
    from typing import SupportsIndex

    from numpy.typing import ArrayLike, NDArray

LEAST_READINGS = 3
"""Photos that a regressor learns from at least: of two, each is all that is left when the other is left out."""

_NAMED = 3  # photos that the history names of those that are added at once


@dataclass(frozen=True)
class Measurement:
    """What a regressor reads from an image.

    Attributes:
        values: by name, in the order that they were taught in.
        intervals: the lowest and the highest that each may be; see `edge_adapt.runtime.regressor.left_out.errors_of`.
    """

    values: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]


class Regressor(Adapted):
    """A model adapted to photos of known values; `MetaModel.regress` makes one, and `load` opens one that was saved."""

    def __repr__(self) -> str:
        return f"<Regressor of {self.manifest.name!r}: {', '.join(self.names)}>"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the T values."""
        return self.graphs.bundle.record.targets if self._learned is None else self._learned.targets

    @cached_property
    def adaptation(self) -> Adaptation:
        """Shots, support loss, leave-one-out errors and support features; read or estimated when first asked for."""
        if self._learned is None:
            return self.graphs.bundle.adaptation()
        return replace(self._learned, errors=self.errors)

    @cached_property
    def errors(self) -> ReadingErrors:
        """How far it is off at shots that are left out; read or estimated when first asked for."""
        known = self.graphs.bundle.record.errors if self._learned is None else self._learned.errors
        if known is not None:
            return known
        folds, values = self.left_out
        return errors_of(values - self.support.targets[folds])

    @cached_property
    def left_out(self) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Which shots were left out, and what was read from them: see `values_left_out`."""
        support = self.support
        return values_left_out(self.graphs, support.features, support.targets, self.steps)

    def predict(self, image: ImageSource, *, bgr: bool = False) -> Measurement:
        """Read the values from one image.

        Args:
            image: see `ImageSource`.
            bgr: it is an array whose channels are blue, green, red, as OpenCV gives them.

        Raises:
            ImageError: the image cannot be read, or is no array where `bgr` is said.
        """
        return self.predict_embedded(self.graphs.embed_image(named(image, bgr=bgr)))

    def predict_all(self, images: Iterable[ImageSource], *, bgr: bool = False) -> list[Measurement | EdgeAdaptError]:
        """Read from several images, each as if it were alone; in place of one that cannot be read stands the error."""
        unread = (named(image, f"image {number}", bgr) for number, image in enumerate(images, 1))
        return [
            image if isinstance(image, EdgeAdaptError) else self.predict_embedded(image)
            for image in self.graphs.embed_all(unread)
        ]

    def predict_embedded(self, image: EmbeddedImage) -> Measurement:
        """`predict` on an image that is embedded already."""
        values = self.graphs.predict(image.features[None], self._state)[0].astype(np.float64)
        if values.shape != (len(self.names),) or not np.isfinite(values).all():
            raise BundleError(
                f"{self.graphs.bundle.path}: predict.onnx gives no finite values for {', '.join(self.names)}."
            )
        found = dict(zip(self.names, values.tolist(), strict=True))
        bounds = zip(found.items(), self.errors.bound, strict=True)
        return Measurement(found, {name: (value - bound, value + bound) for (name, value), bound in bounds})

    # Edits: each gives a new regressor, that of adapting once to the support set as it is then

    def add(self, images: Iterable[ImageSource], values: ArrayLike, *, bgr: bool = False) -> Regressor:
        """With images of known values; of an image that it has already, the value takes the place of the old one.

        Args:
            images: N of them.
            values: what each reads: [N], or [N, T] of several.
            bgr: as of `predict`.

        Raises:
            ImageError: an image cannot be read, or is no array where `bgr` is said.
            DataError: the values do not fit, or the model does not take so many images.
        """
        return self.add_unread([named(image, f"image {number}", bgr) for number, image in enumerate(images, 1)], values)

    def add_unread(self, unread: Sequence[UnreadImage], values: ArrayLike) -> Regressor:
        """`add` of files."""
        rows_of(values, len(unread), self.names)  # before any image is read
        return self.add_embedded(self._embedded(unread), values)

    def add_embedded(self, images: Sequence[EmbeddedImage], values: ArrayLike) -> Regressor:
        """`add` of images that are embedded already, as shots."""
        rows = rows_of(values, len(images), self.names)
        said = [
            f"{image.name} {', '.join(f'{value:g}' for value in row)}" for image, row in zip(images, rows, strict=True)
        ]
        more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
        return self._edited(f"add {'; '.join(said[:_NAMED])}{more}", self.support.add_readings(images, rows))

    def adapt_embedded(self, images: Sequence[EmbeddedImage], values: ArrayLike) -> Regressor:
        """Adapted to other images alone, embedded as shots; to be undone as any edit. Raises DataError as `add`."""
        rows = rows_of(values, len(images), self.names)
        return self._edited(f"adapt: {plural(len(images), 'image')}", SupportSet(()).add_readings(images, rows))

    def row(self, said: str) -> list[float]:
        """What an image reads, as it is typed: a number, or T with commas between. Raises DataError where it is no such."""
        try:
            return [float(value) for value in said.split(",")]
        except ValueError:
            names = ",".join(self.names)
            raise DataError(
                f"{said!r} is no value for {names}; give a number, or several with commas between."
            ) from None

    def remove(self, *names: str) -> Regressor:
        """Without the images that are named so, or whose SHA-256 begins so.

        Raises:
            DataError: there is no such image, or too few are left.
        """
        if not names:
            raise DataError("no image is named; give the names of those to remove.")
        return self._edited(f"remove {', '.join(names)}", self.support.remove(NO_CLASS, names))

    def _with(self, history: History, support: SupportSet) -> Regressor:
        return regress(self.graphs, support, self.names, self.steps if self.graphs.takes_steps else 0, history)


def regress(
    graphs: Graphs,
    support: SupportSet,
    names: tuple[str, ...],
    steps: SupportsIndex | None = None,
    history: History | None = None,
) -> Regressor:
    """The regressor of a support set. It follows from the shots alone: neither their order nor what was learned before counts.

    Args:
        graphs: of a model of regression.
        support: the shots, with their T values.
        names: of the values.
        steps: gradient steps; None takes the model's own number.
        history: the edits that led to the support set.

    Raises:
        DataError: too few images or too many, or a value that is the same in all of them.
        EdgeAdaptError: a number of steps that the model cannot take.
    """
    check_readings(graphs, support.targets if support.images else np.empty((0, len(names)), np.float32), names)
    count = checked_steps(graphs, steps)
    state, losses = adapt_to_values(graphs, support.features, support.targets, count)
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise DataError(f"the adaptation diverged ({name!r} is not finite after {count} steps); take fewer steps.")
    learned = Adaptation(
        labels=(),
        shots=support.shots,
        steps=count,
        losses=tuple(float(loss) for loss in losses),
        leave_one_out=None,
        head_state=state,
        support_features=support.all_features,
        support_targets=support.targets,
        targets=names,
    )
    return Regressor(graphs, state, learned, history or History())


def check_readings(graphs: Graphs, values: NDArray[np.float32], names: Sequence[str]) -> None:
    """Raise DataError unless the model can adapt to images with these values, float32 [M, T]."""
    if len(values) < LEAST_READINGS:
        raise DataError(
            f"there are {plural(len(values), 'photo')} with values, and {LEAST_READINGS} are needed; add more."
        )
    most = graphs.manifest.max_support
    if most is not None and len(values) > most:
        raise DataError(
            f"there are {len(values)} photos and {graphs.manifest.name} takes at most {most}; leave some out."
        )
    for name, column in zip(names, values.T, strict=True):
        if (column == column[0]).all():
            raise DataError(f"all photos read {column[0]:g} {name}; add photos with other values, or leave {name} out.")


def rows_of(values: ArrayLike, count: int, names: Sequence[str]) -> list[tuple[float, ...]]:
    """Values [N] or [N, T] of `count` images, a tuple of T an image, as float32 holds them; raises DataError."""
    for name in names:
        if not isinstance(name, str) or not name or not is_line(name) or list(names).count(name) > 1:
            raise DataError(f"{name!r} cannot be the name of a value, which is one line of text of its own; rename it.")
    try:
        given = np.asarray(values, np.float32).reshape(count, len(names))
    except (TypeError, ValueError):
        raise DataError(f"there are {plural(count, 'image')}, and each needs {plural(len(names), 'value')}.") from None
    if not np.isfinite(given).all():
        raise DataError("a value is not a finite number; correct it or leave its image out.")
    return [tuple(row) for row in given.tolist()]
