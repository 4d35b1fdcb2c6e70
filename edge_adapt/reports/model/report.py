"""`report`: measure a model on a data set and write the page."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge_adapt.reports.model.about import open_model
from edge_adapt.reports.model.accuracy import Subject
from edge_adapt.reports.model.measurements import Report, measure
from edge_adapt.reports.model.page import page
from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import embed_dataset
from edge_adapt.runtime.files import require_output, write_atomically

if TYPE_CHECKING:
    from torch import nn

    from edge_adapt.runtime.sessions import Provider

__all__ = ["Report", "report"]


def report(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    classes: Sequence[str | os.PathLike[str]] = (),
    rotations: bool = False,
    cache: str | os.PathLike[str] | None = None,
    skip_bad: bool = False,
    support_files: str | None = None,
    query_files: str | None = None,
    episodes: int = 600,
    seed: int = 0,
    backbone: nn.Module | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Report:
    """Measure a model over random episodes and write one self-contained HTML page about it.

    Args:
        model: a bundle's path or name, or the folder of a training run.
        data: a folder or zip with one sub-folder a class.
        output: the page, written whole or not at all.
        classes, rotations, cache, skip_bad: as `load_dataset` takes them.
        support_files, query_files: as `evaluate` takes them.
        episodes: for a figure; for one of more than five ways, fewer in proportion.
        seed: of the drawing; the same seed draws the same episodes.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        provider: what computes, `auto`, `cpu` or `cuda`.
        threads: of the CPU; None takes all cores.
        progress: show bars.

    Returns:
        What the page shows.

    Raises:
        EdgeAdaptError: the model or the data cannot be used for this, or the page cannot be written, or would replace what it is
            about.
    """
    for name, value, least in (("episodes", episodes, 1), ("seed", seed, 0)):
        if value < least:
            raise EdgeAdaptError(f"{name} is {value}; take {least} or more.")
    require_output(output, model, data, *classes)
    opened = open_model(model, provider, threads, backbone)
    images = load_dataset(data, opened.about.preprocessing, classes, rotations, progress, cache, skip_bad)
    images.require(2, 0)
    given = [("--classes", os.fspath(listing)) for listing in classes]
    given += [("--support-files", support_files)] if support_files is not None else []
    given += [("--query-files", query_files)] if query_files is not None else []
    given += [("--episodes", str(episodes)), ("--seed", str(seed))]
    words = ["edge-adapt", "report", os.fspath(model), os.fspath(data), "-o", os.fspath(output)]
    words += [word for option in given for word in option]
    words += [option for option, wanted in (("--rotations", rotations), ("--skip-bad", skip_bad)) if wanted]
    subject = Subject(
        opened.model,
        images,
        embed_dataset(opened.model, images, opened.about.support_views, progress=progress),
        opened.about.default_steps,
        episodes,
        seed,
        opened.about.max_ways,
        opened.about.max_support,
        support_files,
        query_files,
    )
    result = measure(opened, subject, shlex.join(words), progress)
    text = page(result).encode("utf-8", "replace")  # a file name need not be valid Unicode
    write_atomically(output, lambda stream: stream.write(text))
    return result
