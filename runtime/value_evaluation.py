"""Photos of known values, to measure a regressor on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.folder_evaluation import those_read
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.runtime.regressor.table import open_table


@dataclass(frozen=True)
class Misread:
    """A photo, what it reads, and what was read from it."""

    image: str
    value: float
    read: float

    @property
    def error(self) -> float:
        """How far off it is, in the unit of the value, from 0."""
        return abs(self.read - self.value)


@dataclass(frozen=True)
class ValueResult:
    """How well one value is read.

    Attributes:
        name: of the value.
        photos: from the most wrong to the least.
        learned: the least and the most that the regressor was taught.
        within: the share of photos whose interval has the true value, 0 to 1.
    """

    name: str
    photos: tuple[Misread, ...]
    learned: tuple[float, float]
    within: float

    @property
    def mean_error(self) -> float:
        """The mean of the photos' errors, in the unit of the value."""
        return sum(photo.error for photo in self.photos) / len(self.photos)

    @property
    def of_range(self) -> float:
        """The mean error as a share of the range that was taught."""
        low, high = self.learned
        return self.mean_error / (high - low)


@dataclass(frozen=True)
class RegressorEvaluation:
    """What a regressor reads from photos of known values.

    Attributes:
        values: one result a value, in the order that they were taught in.
        images: how many photos there were.
        in_support: how many of them the regressor was taught, by SHA-256; these say nothing about new photos.
    """

    values: tuple[ValueResult, ...]
    images: int
    in_support: int


def evaluate_regressor(
    regressor: Regressor, table: str | os.PathLike[str], progress: bool = False, skip_bad: bool = False
) -> RegressorEvaluation:
    """Read the values from all photos of a CSV, and compare.

    Args:
        regressor: what reads them.
        table: a CSV as `edge_adapt.regress` takes it, with a column for each value of the regressor; others are passed over.
        progress: show a bar, and say what is skipped.
        skip_bad: leave out images that cannot be read.

    Raises:
        DataError: the table cannot be used, or lacks a value.
        ImageError: images cannot be read; counts them all, and names the first `MOST_NAMED`.
    """
    opened = open_table(table)
    missing = [name for name in regressor.names if name not in opened.names]
    if missing:
        raise DataError(
            f"{opened.path} has no column {', '.join(missing)} (it has {', '.join(opened.names)}), and "
            f"{regressor.graphs.bundle.path} reads {', '.join(regressor.names)}; name the columns so."
        )
    columns = [opened.names.index(name) for name in regressor.names]
    taught = {image.sha256 for image in regressor.support.images}
    embedded = regressor.graphs.embed_all(opened.files)
    images, known, answers = [], [], []
    for position, image in those_read(embedded, "reading", str(opened.path), len(opened.files), progress, skip_bad):
        images.append(image)
        known.append([opened.values[position][column] for column in columns])
        answers.append(regressor.predict_embedded(image))
    if not images:
        raise DataError(f"{opened.path}: none of the photos can be read; repair them.")
    results = []
    for name, true, learned in zip(regressor.names, zip(*known, strict=True), regressor.support.targets.T, strict=True):
        photos = [
            Misread(image.name, value, answer.values[name])
            for image, value, answer in zip(images, true, answers, strict=True)
        ]
        within = np.mean([_is_in(value, answer.intervals[name]) for value, answer in zip(true, answers, strict=True)])
        photos.sort(key=lambda photo: -photo.error)
        results.append(ValueResult(name, tuple(photos), (float(learned.min()), float(learned.max())), float(within)))
    return RegressorEvaluation(tuple(results), len(images), sum(image.sha256 in taught for image in images))


def _is_in(value: float, interval: Sequence[float]) -> bool:
    low, high = interval
    return low <= value <= high
