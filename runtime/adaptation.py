"""A folder of photos to a classifier."""

from __future__ import annotations

import os

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.folder_evaluation import embed_support
from edge_adapt.runtime.graphs import Trust
from edge_adapt.runtime.images.folders import open_folder
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.model_choice import choose_model
from edge_adapt.runtime.sessions import Provider


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
