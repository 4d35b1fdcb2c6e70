"""Classifiers and regressors to tasks, which travel without their model, and back."""

from __future__ import annotations

import os

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.bundle.task import Task, write_task
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.files import require_output
from edge_adapt.runtime.model import MetaModel, load_adapted, load_model, models


def pack(
    classifier: str | os.PathLike[str], path: str | os.PathLike[str], *, sign: str | os.PathLike[str] | None = None
) -> None:
    """Write what a classifier holds beyond its model, for a device that has the model.

    Args:
        classifier: an adapted bundle, of classes or of values.
        path: the `.task` file to write.
        sign: a private key of Ed25519, a PEM file as `openssl genpkey -algorithm ed25519` writes it, to sign with.

    Raises:
        EdgeAdaptError: there is no such classifier, it is damaged, there is no such key, or the file cannot be written.
        MissingDependencyError: it is to be signed, and the extra [sign] is not installed.
    """
    require_output(path, classifier, *([] if sign is None else [sign]))
    write_task(load_adapted(classifier, "cpu").graphs.bundle, path, sign)


def unpack(
    task: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    verify: str | os.PathLike[str] | None = None,
) -> None:
    """Make a classifier of a task and its model: the very file that was packed.

    Args:
        task: what `pack` wrote.
        path: the `.edge` file to write.
        model: what the task was made with, by its path or its name; None finds it among the bundled models.
        verify: the public key that belongs to the private one that it must be signed with, a PEM file as `openssl pkey -pubout`
            writes it; None takes any task, signed or not.

    Raises:
        EdgeAdaptError: the task is damaged, of another model, or not signed so; or the file cannot be written.
        MissingDependencyError: the signature is to be verified, and the extra [sign] is not installed.
    """
    found = Task.read(task)
    if verify is not None:
        found.require_signature(verify)
    base = _bundled(found) if model is None else _base(found, load_model(model, "cpu"))
    require_output(path, task, base.path, *([] if verify is None else [verify]))
    found.unpack(base, path)


def _bundled(task: Task) -> Bundle:
    for name in models():
        base = _base(task, load_model(name, "cpu"))
        if task.is_of(base):
            return base
    raise BundleError(f"{task.path} was made with none of the bundled models; name the file of its model.")


def _base(task: Task, model: MetaModel) -> Bundle:
    """What the task was made with, if that is this model or this model with the head that reads values; else the model."""
    own = model.graphs.bundle
    return own if task.is_of(own) or not task.is_of(model.for_values.bundle) else model.for_values.bundle
