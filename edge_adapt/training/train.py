"""Training as it is called: of a configuration, or of a recipe of several; begun, or gone on with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.training import distributed
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.compute import Compute
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.origin import Given, Origin
from edge_adapt.training.recipes import ChosenRecipe
from edge_adapt.training.run import claimed
from edge_adapt.training.stage import train_stage
from edge_adapt.training.stages import saved_recipe, train_stages
from edge_adapt.training.start import Reading, Start


@distributed.joined()
def train(
    data: ImageDataset,
    run: str | os.PathLike[str],
    config: TrainingConfig | ChosenRecipe | None = None,
    *,
    validation: ImageDataset | None = None,
    start: Start | None = None,
    compute: Compute | None = None,
    reading: Reading | None = None,
) -> Checkpoint:
    """Meta-train a model and leave it in the folder `run`; `resume` goes on where it was stopped.

    With a budget in iterations, on a CPU with the same number of threads, a run that was interrupted and resumed gives the very
    weights of one that was not: what an outer step draws follows from its number; see `edge_adapt.training.outer_step`. So the
    processes that `torchrun` starts, of which each calls this function, give the weights of one process up to the rounding of
    sums.

    Args:
        data: the training classes.
        run: the folder to write; see `edge_adapt.training.run`.
        config: what to train; None takes `TrainingConfig()`. Episodes of a recipe that the training classes do not suffice for
            become smaller.
        validation: classes to measure on along the way: where the accuracy on them is best is what exports, unless the method
            ends at its best (`Method.keeps_best`).
        start: what it begins with; None begins anew.
        compute: where and how it is computed; None takes what is fastest.
        reading: where features are kept, and whether bars show.

    Returns:
        The end of the run; of a recipe, that of its last stage.

    Raises:
        DataError: the classes or images do not suffice for the episodes; of a recipe, before anything is trained.
        EdgeAdaptError: `run` holds another run or cannot be written to, the configuration does not fit, `head-only` has no
            weights to start from, the loss is no longer finite, memory does not suffice for a single episode, or another process
            ended.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, at the end of an outer step, which is in the checkpoint then; after a second
            one at once.
    """
    given = Given(data, validation, start or Start(), compute or Compute(), reading or Reading())
    with claimed(Path(run)):
        return _train(given, Path(run), config or TrainingConfig(), resumed=False)


@distributed.joined()
def resume(
    run: str | os.PathLike[str],
    *,
    data: ImageDataset | str | os.PathLike[str] | None = None,
    validation: ImageDataset | None = None,
    teacher: Checkpoint | FeatureTeacher | Sequence[FeatureTeacher] | None = None,
    backbone: nn.Module | None = None,
    compute: Compute | None = None,
    reading: Reading | None = None,
) -> Checkpoint:
    """Go on with a run that was stopped, from its last checkpoint, to its end.

    It knows its settings, and where its images, validation classes and teachers lay in files. What came from no file is passed
    again, the same as before.

    Args:
        run: the folder that `train` wrote, or that of a recipe's stage.
        data: the training classes, or the folder or zip where they lie now.
        validation: the validation classes.
        teacher: as of `Start`.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        compute: as of `train`; None, and each of its defaults, takes what the run had.
        reading: as of `train`; None takes the cache that the run had.

    Returns:
        As `train`.

    Raises:
        DataError: the data are not what they were.
        EdgeAdaptError: there is no run, something that it needs is gone or another, or as of `train`.
        KeyboardInterrupt: as of `train`.
    """
    folder = Path(run)
    what, origin = distributed.of_first(lambda: _noted(folder))
    config = what.first if isinstance(what, ChosenRecipe) else what
    compute, reading = compute or Compute(), reading or Reading()
    if compute.device == "auto":
        compute = replace(compute, device=origin.device)
    compute = replace(compute, threads=compute.threads or origin.threads)
    reading = replace(reading, cache=reading.cache or origin.cache)
    if isinstance(data, str | os.PathLike):
        origin, data = origin.moved(str(Path(data).absolute())), None
    with distributed.first_alone():
        if data is None and origin.data is None:
            raise DataError(f"{folder} was trained on images that came from no files; pass them again as `data`.")
        data = data or origin.data.read(folder, config, reading)  # type: ignore[union-attr]  # or there are data
        if validation is None and origin.validation is not None:
            validation = origin.validation.read(folder, config, reading)
    start = Start(teacher=origin.read_teacher(compute) if teacher is None else teacher, backbone=backbone)
    return _train(Given(data, validation, start, compute, reading), folder, what, resumed=True)


def _noted(run: Path) -> tuple[TrainingConfig | ChosenRecipe, Origin]:
    """What a run trains, and what it was given."""
    recipe = saved_recipe(run)
    if not recipe and not (run / "checkpoint.pt").is_file():
        raise EdgeAdaptError(f"{run} holds no run that has begun; begin it with `edge-adapt train DATA -o {run}`.")
    return recipe or load_checkpoint(run).config, Origin.read(run)


def _train(given: Given, run: Path, what: TrainingConfig | ChosenRecipe, resumed: bool) -> Checkpoint:
    if given.compute.threads:
        torch.set_num_threads(given.compute.threads)
    if isinstance(what, ChosenRecipe):
        return train_stages(given, run, what, resumed)
    return train_stage(given, run, what, resumed)
