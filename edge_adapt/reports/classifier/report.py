"""`report_classifier`: ask a classifier about labelled images and write the page."""

from __future__ import annotations

import datetime
import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_adapt.extras import missing
from edge_adapt.reports.classifier.mistakes import ClassifierReport
from edge_adapt.runtime.files import require_output, write_atomically
from edge_adapt.runtime.folder_evaluation import ClassifierEvaluation, classify_folder

__all__ = ["ClassifierReport", "report_classifier"]

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.classifier import Classifier


def report_classifier(
    classifier: Classifier,
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    classes: Sequence[str | os.PathLike[str]] = (),
    *,
    progress: bool = False,
    skip_bad: bool = False,
) -> ClassifierReport:
    """Classify every image of a folder or zip, and write one self-contained HTML page with the mistakes as pictures.

    Args:
        classifier: adapted to the classes of the folder, and perhaps to more.
        path: a folder or zip with one sub-folder a class; a sub-folder `_other` has images of no class.
        output: the page, written whole or not at all.
        classes: files with one class a line, as `edge_adapt.load_dataset` takes them; empty: all.
        progress: show a bar, and say what is skipped.
        skip_bad: leave out images that cannot be read, instead of refusing the folder.

    Returns:
        What the page shows.

    Raises:
        DataError: the folder cannot be used, or has classes that the classifier does not know.
        ImageError: images cannot be read.
        EdgeAdaptError: the page cannot be written, or would replace what it is about.
        MissingDependencyError: the extra [report] is not installed.
    """
    try:
        from edge_adapt.reports.classifier.page import page
    except ModuleNotFoundError as error:
        raise missing("a report", error.name or "jinja2", "report") from error
    file = classifier.graphs.bundle.path
    require_output(output, file, path, *classes)
    answers = classify_folder(classifier, path, classes, progress, skip_bad)
    words = ["edge-adapt", "report", os.fspath(file), os.fspath(path), "-o", os.fspath(output)]
    words += [word for listing in classes for word in ("--classes", os.fspath(listing))]
    result = ClassifierReport(
        classifier=classifier,
        data=os.fspath(path),
        evaluation=ClassifierEvaluation.of(answers, classifier.manifest.priors is not None),
        answers=tuple(answers),
        command=shlex.join([*words, *(["--skip-bad"] if skip_bad else [])]),
        date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
    )
    text = page(result).encode("utf-8", "replace")  # a file name need not be valid Unicode
    write_atomically(output, lambda stream: stream.write(text))
    return result
