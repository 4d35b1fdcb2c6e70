"""A classifier in a file, edited there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.files import locked
from edge_adapt.runtime.graphs import Trust
from edge_adapt.runtime.model import load_classifier
from edge_adapt.runtime.sessions import Provider


def edit(
    path: str | os.PathLike[str],
    change: Callable[[Classifier], Classifier],
    output: str | os.PathLike[str] | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    trust: Trust = "known",
) -> Classifier:
    """Open a classifier, change it and save it, so that of two processes that edit one file none loses what the other did.

        edit("mine.edge", lambda mine: mine.add("foam", ["a.jpg", "b.jpg"]))

    Args:
        path: the classifier.
        change: gives what it becomes; such as `Classifier.undo`.
        output: the file to write; None replaces `path`, at once and whole.
        provider: what runs `embed`, as `load` takes it.
        threads: of the CPU; None takes all cores.
        trust: in `path`, as `load` takes it.

    Raises:
        EdgeAdaptError: the file is no classifier or cannot be written, or what `change` raises; the file is then as it was.
    """
    with nullcontext() if output is not None else locked(path):
        changed = change(load_classifier(path, provider, threads, trust))
        changed.save(path if output is None else output)
    return changed
