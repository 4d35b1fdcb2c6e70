"""Folders of labelled images, to adapt a model to and to measure a classifier on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from edge_adapt.runtime.dataset import open_classes
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.evaluation import BATCH
from edge_adapt.runtime.folders import open_folder
from edge_adapt.runtime.model import Classifier, MetaModel, PreparedImage
from edge_adapt.runtime.progress import Progress


def prepare_support(
    model: MetaModel, path: str | os.PathLike[str], progress: bool = False
) -> dict[str, list[PreparedImage]]:
    """Read the support set from a folder or zip with one sub-folder a class, for `MetaModel.adapt_prepared`.

    A shot is named by its path below the folder: where the folder lay is nobody's business who gets the classifier.

    Raises:
        DataError: the folder cannot be used, or the model cannot adapt to so few or so many classes.
        ImageError: an image cannot be read.
    """
    folder = open_folder(path)
    model.check(folder.classes)
    images: dict[str, list[PreparedImage]] = {}
    with Progress(f"reading {path}", sum(map(len, folder.classes.values())), "images", show=progress) as bar:
        for label, files in folder.classes.items():
            images[label] = []
            for file in files:
                image = model.graphs.prepare(file.read(), f"{path}/{file.name}")
                images[label].append(replace(image, name=file.name))
                bar.advance()
    return images


@dataclass(frozen=True)
class ClassResult:
    """How many images of a class there were, and how many of them were classified right."""

    label: str
    images: int
    right: int


@dataclass(frozen=True)
class Confusion:
    """How many images of the class `label` were taken for `predicted`."""

    label: str
    predicted: str
    images: int


@dataclass(frozen=True)
class ClassifierEvaluation:
    """The answers of a classifier on labelled images.

    Attributes:
        accuracy: the share of right answers, 0 to 1.
        interval: its 95% confidence interval over images (Wilson 1927, which holds for few images and near 0 and 1 too).
        images: how many there were.
        in_support: how many of them the classifier was adapted on, by SHA-256; these say nothing about new images.
        classes: one result a class of the data, in their order.
        confusions: the most frequent first.
    """

    accuracy: float
    interval: tuple[float, float]
    images: int
    in_support: int
    classes: tuple[ClassResult, ...]
    confusions: tuple[Confusion, ...]


def evaluate_classifier(
    classifier: Classifier,
    path: str | os.PathLike[str],
    classes: Sequence[str | os.PathLike[str]] = (),
    progress: bool = False,
) -> ClassifierEvaluation:
    """Classify every image of a folder or zip with one sub-folder a class, named as the classifier's labels.

    Args:
        classifier: adapted to these classes, and perhaps to more.
        path: the folder or zip.
        classes: files with one class a line, as `edge_adapt.load_dataset` takes them; empty: all.
        progress: show a bar.

    Raises:
        DataError: the folder cannot be used, or has classes that the classifier does not know.
        ImageError: an image cannot be read.
    """
    folder = open_classes(path, classes)
    unknown = [label for label in folder.classes if label not in classifier.labels]
    if unknown:
        raise DataError(
            f"{path} has classes that {classifier.graphs.bundle.path} does not know ({_some(unknown)}; it knows "
            f"{_some(classifier.labels)}); rename or remove them."
        )
    files = [(label, file) for label, of_label in folder.classes.items() for file in of_label]
    known = {shot.sha256 for shot in classifier.adapted.shots}
    answers: Counter[tuple[str, str]] = Counter()
    in_support = 0
    with Progress(f"classifying {path}", len(files), "images", show=progress) as bar:
        for start in range(0, len(files), BATCH):
            batch: list[PreparedImage] = []
            for _, file in files[start : start + BATCH]:
                batch.append(classifier.graphs.prepare(file.read(), f"{path}/{file.name}"))
                bar.advance()
            in_support += sum(image.sha256 in known for image in batch)
            for (label, _), prediction in zip(files[start:], classifier.classify_prepared(batch), strict=False):
                answers[label, prediction.label] += 1
    right = sum(count for (label, predicted), count in answers.items() if label == predicted)
    results = tuple(ClassResult(label, len(of), answers[label, label]) for label, of in folder.classes.items())
    confusions = tuple(
        Confusion(label, predicted, count)
        for (label, predicted), count in sorted(answers.items(), key=lambda item: (-item[1], item[0]))
        if label != predicted
    )
    return ClassifierEvaluation(
        right / len(files), _wilson_interval(right, len(files)), len(files), in_support, results, confusions
    )


def _wilson_interval(right: int, total: int) -> tuple[float, float]:
    share, z = right / total, 1.96
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
