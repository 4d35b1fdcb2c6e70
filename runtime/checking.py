"""A folder of photos or a classifier, checked for what will cost accuracy."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edge_adapt.runtime.adaptation import regress
from edge_adapt.runtime.classifier.check import Finding, check_support, ordered
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.support import SupportSet
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.folder_evaluation import embed_support
from edge_adapt.runtime.graphs import Trust
from edge_adapt.runtime.images.folders import ImageFile, open_folder
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.quality import photo_fault
from edge_adapt.runtime.model import MetaModel, load, load_model
from edge_adapt.runtime.model_choice import choose_model
from edge_adapt.runtime.parallel import cores, in_order
from edge_adapt.runtime.regressor.check import check_readings
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.runtime.sessions import Provider

_JUDGED = (256, 256)  # a photo may be decoded at a scale that leaves more than this


def check(
    path: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    provider: Provider = "auto",
    threads: int | None = None,
    progress: bool = False,
    skip_bad: bool = False,
    trust: Trust = "known",
) -> list[Finding]:
    """What in a support set will cost accuracy: labels that look wrong, near duplicates, classes that will be confused or have
    too few photos, and, of a folder, photos that are too dark, blurred or small.

    Args:
        path: a classifier, or a folder or zip with one sub-folder a class; or a regressor, or a CSV as `regress` takes it, in
            which readings that do not fit the others are found.
        model: a bundle, by its path or its name, to see a folder with; None takes the bundled one that suits the images.
        provider: what runs `embed`, as `load` takes it.
        threads: of the CPU; None takes all cores.
        progress: show bars, and say what is skipped.
        skip_bad: leave out images that cannot be read, as long as one of each class is left.
        trust: in the bundle, as `load` takes it.

    Returns:
        what was found, the worst first.

    Raises:
        EdgeAdaptError: the path or the model cannot be used, or images cannot be read.
    """
    if Path(path).suffix.lower() == ".csv":
        learned = regress(
            path,
            model=model,
            provider=provider,
            threads=threads,
            progress=progress,
            skip_bad=skip_bad,
            trust=trust,
        )
        return check_readings(learned)
    if Path(path).is_file() and Path(path).suffix.lower() != ".zip":
        opened = load(path, provider, threads, trust)
        if isinstance(opened, Classifier):
            return check_support(opened.graphs, opened.support, opened.steps)
        if isinstance(opened, Regressor):
            return check_readings(opened)
    if model is None:
        choice = choose_model(path, provider, threads, progress, skip_bad=skip_bad)
        meta_model, images = choice.model, choice.images
    else:
        meta_model = load_model(model, provider, threads, trust)
        images = embed_support(meta_model, open_folder(path), progress, skip_bad=skip_bad)
    support = SupportSet.of_classes(images)
    found = check_support(meta_model.graphs, support, meta_model.manifest.default_steps)
    return ordered([*found, *_photo_faults(path, meta_model, threads)])


def _photo_faults(path: str | os.PathLike[str], model: MetaModel, threads: int | None) -> Sequence[Finding]:
    preprocessing: Preprocessing = model.manifest.preprocessing
    files = [(label, file) for label, of_label in open_folder(path).classes.items() for file in of_label]

    def judged(labelled: tuple[str, ImageFile]) -> Finding | None:
        label, file = labelled
        try:
            fault = photo_fault(file.load(_JUDGED).image, preprocessing)
        except ImageError:  # one that is skipped
            return None
        return fault and Finding(fault[0], f"{file.name} is {fault[0]}: {fault[1]}", (label,), (file.name,))

    return [finding for finding in in_order(judged, files, threads or cores()) if finding]
