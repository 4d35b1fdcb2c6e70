"""`report`: measure a model on a data set and write the page."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from edge_adapt.evaluation import open_model
from edge_adapt.extras import missing
from edge_adapt.reports.model.accuracy import Subject
from edge_adapt.reports.model.measurements import Report, measure
from edge_adapt.runtime.data.episodes import Sampling
from edge_adapt.runtime.data.source import DataSource
from edge_adapt.runtime.evaluation import embed_dataset
from edge_adapt.runtime.files import require_output, write_atomically

if TYPE_CHECKING:
    from torch import nn

    from edge_adapt.runtime.model import MetaModel
    from edge_adapt.runtime.sessions import Provider

__all__ = ["Report", "report"]


def report(
    model: MetaModel | str | os.PathLike[str],
    data: DataSource | str | os.PathLike[str],
    output: str | os.PathLike[str],
    sampling: Sampling = Sampling(episodes=600),  # noqa: B008  (frozen)
    *,
    backbone: nn.Module | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
) -> Report:
    """Measure a model over random episodes and write one self-contained HTML page about it.

    Args:
        model: a bundle's path or name, what `load_model` gave, or the folder of a training run.
        data: a folder or zip with one sub-folder a class.
        output: the page, written whole or not at all.
        sampling: of the episodes for a figure; for one of more than five ways there are fewer in proportion.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        provider: what computes, as `load` takes it, unless the model is loaded; a run takes `auto`, `cpu` or `cuda`.
        threads: of the CPU, unless the model is loaded; None takes all cores.
        progress: show bars.

    Returns:
        What the page shows.

    Raises:
        EdgeAdaptError: the model or the data cannot be used for this, or the page cannot be written, or would replace what it is
            about.
        MissingDependencyError: the extra [report] is not installed.
    """
    try:
        from edge_adapt.reports.model.page import page
    except ModuleNotFoundError as error:
        raise missing("a report", error.name or "jinja2", "report") from error
    source = DataSource.of(data)
    opened = open_model(model, backbone=backbone, provider=provider, threads=threads)
    require_output(output, opened.location, *source.files)
    images = source.load(opened.card.preprocessing, progress=progress)
    images.require(2, 0)
    features = embed_dataset(opened.model, images, opened.card.support_views, progress=progress)
    subject = Subject(opened.model, opened.card, images, features, sampling, opened.model.takes_steps)
    result = measure(opened, subject, _command(opened.location, source, output, sampling), progress)
    text = page(result).encode("utf-8", "replace")  # a file name need not be valid Unicode
    write_atomically(output, lambda stream: stream.write(text))
    return result


def _command(model: str, source: DataSource, output: str | os.PathLike[str], sampling: Sampling) -> str:
    """What to type to measure the same again."""
    options: list[tuple[str, str | None]] = [("--classes", os.fspath(listing)) for listing in source.classes]
    options += [("--support-files", sampling.support_files), ("--query-files", sampling.query_files)]
    options += [("--episodes", str(sampling.episodes)), ("--seed", str(sampling.seed))]
    words = ["edge-adapt", "report", model, os.fspath(source.path), "-o", os.fspath(output)]
    words += [word for option, value in options if value is not None for word in (option, value)]
    words += [option for option, on in (("--rotations", source.rotations), ("--skip-bad", source.skip_bad)) if on]
    return shlex.join(words)
