"""A classifier or a regressor in a file, edited there."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar

from edge_adapt.runtime.classifier.adapted import Adapted
from edge_adapt.runtime.files import locked
from edge_adapt.runtime.graphs import Trust
from edge_adapt.runtime.model import load_adapted
from edge_adapt.runtime.sessions import Provider

A = TypeVar("A", bound=Adapted)


def edit(
    path: str | os.PathLike[str],
    change: Callable[[Any], A],
    output: str | os.PathLike[str] | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    trust: Trust = "known",
) -> A:
    """Open what was adapted, change it and save it, so that of two processes that edit one file none loses what the other did.

        edit("mine.edge", lambda mine: mine.add("foam", ["a.jpg", "b.jpg"]))

    Args:
        path: the file.
        change: gives what it becomes; such as `Classifier.undo`.
        output: the file to write; None replaces `path`, at once and whole.
        provider: what runs `embed`, as `load` takes it.
        threads: of the CPU; None takes all cores.
        trust: in `path`, as `load` takes it.

    Raises:
        EdgeAdaptError: the file is neither or cannot be written, or what `change` raises; the file is then as it was.
    """
    with nullcontext() if output is not None else locked(path):
        changed = change(load_adapted(path, provider, threads, trust))
        changed.save(path if output is None else output)
    return changed
