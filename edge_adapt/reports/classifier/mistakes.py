"""What a report on a classifier says about its answers, as data: what is taken for what, and which images to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.folder_evaluation import Answer, ClassifierEvaluation

MOST_CLASSES = 12
"""Classes in the confusion matrix at most."""

MOST_PICTURES = 100
"""Images that are shown at most, of the mistakes and of those taken for unknown each."""


@dataclass(frozen=True, eq=False)
class ClassifierReport:
    """Everything that the page shows.

    Attributes:
        classifier: what was asked.
        data: the folder or zip of the images.
        evaluation: the figures, as `evaluate_classifier` gives them.
        answers: one an image, in the order of the folder.
        command: what to type to measure it again.
        date: of the measurement, UTC.
    """

    classifier: Classifier
    data: str
    evaluation: ClassifierEvaluation
    answers: tuple[Answer, ...]
    command: str
    date: str


@dataclass(frozen=True, eq=False)
class Matrix:
    """How often images of a class are taken for each.

    Attributes:
        rows: the classes of the images, and `OTHER` last where there are images of none.
        columns: the classes of the classifier that are shown.
        taken: int64 [rows, columns], of images that look like one of the classes.
        elsewhere: int64 [rows], taken for classes that are not shown.
        unknown: int64 [rows], taken for unknown.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    taken: NDArray[np.int64]
    elsewhere: NDArray[np.int64]
    unknown: NDArray[np.int64]

    @property
    def asked(self) -> NDArray[np.int64]:
        """Images of each row, int64 [rows]."""
        return np.asarray(self.taken.sum(axis=1) + self.elsewhere + self.unknown)


def matrix(answers: Sequence[Answer], labels: Sequence[str]) -> Matrix:
    """That of a classifier with these labels; where there are more than `MOST_CLASSES`, of those confused most often."""
    counts = Counter((answer.label, answer.predicted if answer.known else None) for answer in answers)
    columns = tuple(labels) if len(labels) <= MOST_CLASSES else _confused(counts, labels)
    asked = {label for label, _ in counts}
    rows = tuple(label for label in (*columns, OTHER) if label in asked)
    taken = np.array([counts[row, column] for row in rows for column in columns], np.int64)
    taken = taken.reshape(len(rows), len(columns))
    unknown = np.array([counts[row, None] for row in rows], np.int64)
    of_row = np.array([sum(count for (label, _), count in counts.items() if label == row) for row in rows], np.int64)
    return Matrix(rows, columns, taken, of_row - taken.sum(axis=1) - unknown, unknown)


def _confused(counts: Counter[tuple[str, str | None]], labels: Sequence[str]) -> tuple[str, ...]:
    """The classes of the most frequent confusions, pair by pair, in the order of the labels."""
    chosen: set[str] = set()
    for (label, predicted), _ in counts.most_common():
        if predicted is not None and predicted != label:
            together = chosen | {label, predicted} - {OTHER}
            chosen = together if len(together) <= MOST_CLASSES else chosen
    return tuple(label for label in labels if label in chosen)


@dataclass(frozen=True, eq=False)
class Shown:
    """Images of a class to look at.

    Attributes:
        label: the class.
        answers: to the images that are shown, the surest first.
        count, images: how many such images there are, and how many of the class in all.
    """

    label: str
    answers: tuple[Answer, ...]
    count: int
    images: int


def wrong(answers: Sequence[Answer]) -> list[Shown]:
    """The images that look like another class than their own, or like one while they are of none; most in a class first."""
    return _by_class(answers, [answer for answer in answers if answer.known and not answer.right])


def unknown(answers: Sequence[Answer]) -> list[Shown]:
    """The images of classes that were taken for unknown; most in a class first."""
    return _by_class(answers, [answer for answer in answers if not answer.known and answer.label != OTHER])


def _by_class(answers: Sequence[Answer], chosen: Sequence[Answer]) -> list[Shown]:
    images = Counter(answer.label for answer in answers)
    surest = sorted(chosen, key=lambda answer: -answer.confidence)[:MOST_PICTURES]
    groups = [
        Shown(label, tuple(answer for answer in surest if answer.label == label), count, images[label])
        for label, count in Counter(answer.label for answer in chosen).most_common()
    ]
    return [shown for shown in groups if shown.answers]
