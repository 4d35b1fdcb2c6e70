"""Classifiers to tasks, which travel without their model, and back."""

from __future__ import annotations

import os

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.bundle.task import graphs_of_task, read_task, write_task
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.files import require_output
from edge_adapt.runtime.model import load_classifier, load_model, models


def pack(classifier: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Write what a classifier holds beyond its model, for a device that has the model.

    Args:
        classifier: an adapted bundle.
        path: the `.task` file to write.

    Raises:
        EdgeAdaptError: there is no such classifier, it is damaged, or the file cannot be written.
    """
    require_output(path, classifier)
    write_task(load_classifier(classifier, "cpu").graphs.bundle, path)


def unpack(
    task: str | os.PathLike[str], path: str | os.PathLike[str], *, model: str | os.PathLike[str] | None = None
) -> None:
    """Make a classifier of a task and its model: the very file that was packed.

    Args:
        task: what `pack` wrote.
        path: the `.edge` file to write.
        model: what the task was made with, by its path or its name; None finds it among the bundled models.

    Raises:
        EdgeAdaptError: the task is damaged or of another model, or the file cannot be written.
    """
    base = _bundled(task) if model is None else load_model(model, "cpu").graphs.bundle
    require_output(path, task, base.path)
    read_task(task, base, path)


def _bundled(task: str | os.PathLike[str]) -> Bundle:
    wanted = graphs_of_task(task)
    for name in models():
        bundle = load_model(name, "cpu").graphs.bundle
        if dict(bundle.manifest.graphs) == wanted:
            return bundle
    raise BundleError(f"{os.fspath(task)} was made with none of the bundled models; name the file of its model.")
