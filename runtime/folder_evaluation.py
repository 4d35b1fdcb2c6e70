"""Folders of labelled images, to adapt a model to and to measure a classifier on."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.estimate import wilson_interval
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.data.dataset import open_classes, report_faults
from edge_adapt.runtime.errors import DataError, ImageError
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.images.folders import ImageFolder
from edge_adapt.runtime.images.images import UnreadImage
from edge_adapt.runtime.model import MetaModel
from edge_adapt.runtime.progress import Progress


def embed_support(
    model: MetaModel, folder: ImageFolder, progress: bool = False, steps: int | None = None, skip_bad: bool = False
) -> dict[str, list[EmbeddedImage]]:
    """Embed the support set in a folder or zip with one sub-folder a class, for `MetaModel.adapt_embedded`.

    A shot is named by its path below the folder: where the folder lay is nobody's business who gets the classifier.

    Args:
        model: what is to adapt to it.
        folder: the support set.
        progress: show a bar, and say what is skipped.
        steps: gradient steps that it is to take; None takes the model's own number.
        skip_bad: leave out images that cannot be read, instead of refusing the folder.

    Raises:
        EdgeAdaptError: the model cannot adapt to so few or so many classes, or in so many steps.
        ImageError: images cannot be read; counts them all, and names the first `MOST_NAMED`.
        DataError: no image of a class can be read.
    """
    model.check(folder.classes, steps)
    images: dict[str, list[EmbeddedImage]] = {label: [] for label in folder.classes}
    files = [(label, file) for label, of_label in folder.classes.items() for file in of_label]
    embedded = model.graphs.embed_all((file for _, file in files), as_shots=True)
    for position, image in those_read(embedded, "reading", str(folder.path), len(files), progress, skip_bad):
        images[files[position][0]].append(image)
    for label, of_label in images.items():
        if not of_label:
            raise DataError(f"{folder.path}: no image of class {label!r} can be read; repair them or remove the class.")
    return images


def those_read(
    embedded: Iterable[EmbeddedImage | ImageError], doing: str, source: str, count: int, progress: bool, skip_bad: bool
) -> Iterator[tuple[int, EmbeddedImage]]:
    """The images that could be read, each with its position; behind the last, what `report_faults` says of the others.

    Args:
        embedded: `count` of them, or errors in their place.
        doing, source: what the bar says, as of "reading photos".
        progress: show it, and say what is skipped.
        skip_bad: leave out images that cannot be read, instead of raising.

    Raises:
        ImageError: as of `report_faults`.
    """
    faults: dict[int, str] = {}
    with Progress(f"{doing} {source}", count, "images", show=progress) as bar:
        for position, image in enumerate(embedded):
            bar.advance()
            if isinstance(image, ImageError):
                faults[position] = str(image)
            else:
                yield position, image
    if faults:
        report_faults(faults, source, count, skip_bad, progress)


def without_bad(folder: ImageFolder, images: Mapping[str, Sequence[EmbeddedImage]]) -> ImageFolder:
    """The folder less the files that `embed_support` left out."""
    read = {image.name for of_label in images.values() for image in of_label}
    return ImageFolder(
        folder.path,
        {label: tuple(file for file in files if file.name in read) for label, files in folder.classes.items()},
    )


@dataclass(frozen=True, eq=False)
class Answer:
    """What a classifier says of a labelled image.

    Attributes:
        label: the class that it is of; `OTHER` for none.
        image: it.
        predicted, confidence, known: as of `Prediction`.
        in_support: whether the classifier was adapted on it, by SHA-256.
    """

    label: str
    image: UnreadImage
    predicted: str
    confidence: float
    known: bool
    in_support: bool

    @property
    def right(self) -> bool:
        """Whether it is of the class that is the most probable."""
        return self.predicted == self.label


def classify_folder(
    classifier: Classifier,
    path: str | os.PathLike[str],
    classes: Sequence[str | os.PathLike[str]] = (),
    progress: bool = False,
    skip_bad: bool = False,
) -> list[Answer]:
    """The answers to every image of a folder or zip, with arguments and errors as of `evaluate_classifier`."""
    folder = open_classes(path, classes)
    unknown = [label for label in folder.classes if label not in (*classifier.labels, OTHER)]
    if unknown:
        raise DataError(
            f"{path} has classes that {classifier.graphs.bundle.path} does not know ({_some(unknown)}; it knows "
            f"{_some(classifier.labels)}); rename or remove them."
        )
    files = [(label, file) for label, of_label in folder.classes.items() for file in of_label]
    taught = {shot.sha256 for shot in classifier.adaptation.shots}
    answers = []
    embedded = classifier.graphs.embed_all(file for _, file in files)
    for position, image in those_read(embedded, "classifying", str(path), len(files), progress, skip_bad):
        label, file = files[position]
        found = classifier.classify_embedded(image)
        answers.append(Answer(label, file, found.label, found.confidence, found.known, image.sha256 in taught))
    if all(answer.label == OTHER for answer in answers):
        raise DataError(f"{path} has no image of a class that can be read; add some.")
    return answers


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
        images: how many there were of classes.
        refused: how many of them were taken for unknown; None where the classifier knows no unknown images.
        accuracy_of_rest: the share of right answers among the others; None where there are none.
        others, others_refused: images of no class, and how many of them were taken for unknown.
        in_support: how many images of classes the classifier was adapted on, by SHA-256; these say nothing about new images.
        classes: one result a class of the data, in their order.
        confusions: the most frequent first.
    """

    accuracy: float
    interval: tuple[float, float]
    images: int
    refused: int | None
    accuracy_of_rest: float | None
    others: int
    others_refused: int
    in_support: int
    classes: tuple[ClassResult, ...]
    confusions: tuple[Confusion, ...]

    @classmethod
    def of(cls, answers: Sequence[Answer], tells_unknown: bool) -> ClassifierEvaluation:
        """That of these answers, at least one of them to an image of a class."""
        of_classes = [answer for answer in answers if answer.label != OTHER]
        others = [answer for answer in answers if answer.label == OTHER]
        known = [answer for answer in of_classes if answer.known]
        images = Counter(answer.label for answer in of_classes)
        counts = Counter((answer.label, answer.predicted) for answer in of_classes)
        right = sum(answer.right for answer in of_classes)
        return cls(
            right / len(of_classes),
            wilson_interval(right, len(of_classes)),
            len(of_classes),
            len(of_classes) - len(known) if tells_unknown else None,
            sum(answer.right for answer in known) / len(known) if known else None,
            len(others),
            sum(not answer.known for answer in others),
            sum(answer.in_support for answer in of_classes),
            tuple(ClassResult(label, count, counts[label, label]) for label, count in images.items()),
            tuple(
                Confusion(label, predicted, count)
                for (label, predicted), count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
                if label != predicted
            ),
        )


def evaluate_classifier(
    classifier: Classifier,
    path: str | os.PathLike[str],
    classes: Sequence[str | os.PathLike[str]] = (),
    progress: bool = False,
    skip_bad: bool = False,
) -> ClassifierEvaluation:
    """Classify every image of a folder or zip with one sub-folder a class, named as the classifier's labels.

    Args:
        classifier: adapted to these classes, and perhaps to more.
        path: the folder or zip; a sub-folder `_other` has images of no class.
        classes: files with one class a line, as `edge_adapt.load_dataset` takes them; empty: all.
        progress: show a bar, and say what is skipped.
        skip_bad: leave out images that cannot be read, instead of refusing the folder.

    Raises:
        DataError: the folder cannot be used, or has classes that the classifier does not know.
        ImageError: images cannot be read; counts them all, and names the first `MOST_NAMED`.
    """
    answers = classify_folder(classifier, path, classes, progress, skip_bad)
    return ClassifierEvaluation.of(answers, classifier.manifest.priors is not None)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
