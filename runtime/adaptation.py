"""A folder of photos to a classifier, and a table of photos to a regressor."""

from __future__ import annotations

import os

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.folder_evaluation import embed_support, those_read
from edge_adapt.runtime.graphs import Trust
from edge_adapt.runtime.images.folders import open_folder
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.model_choice import choose_model
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.runtime.sessions import Provider

VALUES = "photos-small"
"""The bundled model that learns values where none is named: features of smaller pictures keep more of where things are."""


def adapt(
    photos: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    steps: int | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
    skip_bad: bool = False,
    trust: Trust = "known",
) -> Classifier:
    """Teach a model the classes in a folder or zip with one sub-folder a class.

    Args:
        photos: 2 classes or more, each with one image or more.
        model: a bundle, by its path or its name; None takes the bundled one that suits the images.
        steps: gradient steps; None takes the model's own number.
        provider: what runs `embed`, as `load` takes it.
        threads: of the CPU; None takes all cores.
        progress: show bars, and say what is skipped.
        skip_bad: leave out images that cannot be read, as long as one of each class is left.
        trust: in `model`, as `load` takes it.

    Raises:
        EdgeAdaptError: the folder, the model or the number of steps cannot be used, or images cannot be read.
    """
    if model is None:
        choice = choose_model(photos, provider, threads, progress, steps, skip_bad)
        return choice.model.adapt_embedded(choice.images, steps)
    meta_model = load_model(model, provider, threads, trust)
    images = embed_support(meta_model, open_folder(photos), progress, steps, skip_bad)
    return meta_model.adapt_embedded(images, steps)


def regress(
    table: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    steps: int | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
    skip_bad: bool = False,
    trust: Trust = "known",
) -> Regressor:
    """Teach a model the values that a CSV says photos have, such as the reading of a gauge.

    Args:
        table: a CSV with a line a photo, three or more: its path from the folder of the CSV, and a number in each further column;
            the first line names the columns.
        model: a bundle, by its path or its name; None takes `photos-small`, which reads values best.
        steps: gradient steps; None takes the model's own number.
        provider: what runs `embed`, as `load` takes it.
        threads: of the CPU; None takes all cores.
        progress: show bars, and say what is skipped.
        skip_bad: leave out images that cannot be read.
        trust: in `model`, as `load` takes it.

    Raises:
        EdgeAdaptError: the table, the model or the number of steps cannot be used, or images cannot be read.
    """
    from edge_adapt.runtime.regressor.table import open_table

    opened = open_table(table)
    meta_model = load_model(model or VALUES, provider, threads, trust)
    meta_model.check_values(opened.values, opened.names, steps)
    embedded = meta_model.for_values.embed_all(opened.files, as_shots=True)
    read = dict(those_read(embedded, "reading", str(opened.path), len(opened.files), progress, skip_bad))
    values = [opened.values[position] for position in read]
    return meta_model.regress_embedded(list(read.values()), values, opened.names, steps)
