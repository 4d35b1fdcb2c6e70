"""One process of the command `train`: reads the data, trains what is planned, and says what came of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from edge_adapt.cli import INTERRUPTED, words
from edge_adapt.cli.teachers import GivenTeachers
from edge_adapt.methods import SETTINGS
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.errors import DataError
from edge_adapt.training import distributed
from edge_adapt.training.budget import stopped_early
from edge_adapt.training.checkpoint import Checkpoint, last_stage, load_checkpoint
from edge_adapt.training.compute import Compute
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.ensemble import join
from edge_adapt.training.plan import plan_training
from edge_adapt.training.run import claimed
from edge_adapt.training.start import Reading, Start
from edge_adapt.training.train import resume, train

T = TypeVar("T")


@dataclass(frozen=True)
class GivenData:
    """What the options say of the data: where they lie, which classes to train and to validate on, and how they are read."""

    data: str
    classes: tuple[str, ...]
    val_classes: tuple[str, ...]
    cache: str | None
    skip_bad: bool


def train_in_process(given: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Train as the options say. Only the first process speaks.

    Args:
        given: all options.
        chosen: those that stood on the command line.
    """
    run = given["resume"] or given["run"]
    try:
        with distributed.joined(), distributed.in_one_voice():
            if given["resume"] or (_is_restarted() and _has_checkpoint(run)):
                _go_on(given, run)
            else:
                _begin(given, settings_in(chosen), run)
    except KeyboardInterrupt:
        if not _has_checkpoint(run):
            raise
        click.echo(f"\n{run} keeps its last checkpoint; go on with: edge-adapt train --resume {run}", err=True)
        raise SystemExit(INTERRUPTED) from None


def settings_in(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that are settings of a configuration or its method."""
    settings = SETTINGS | {field.name for field in fields(TrainingConfig)}
    return {name: value for name, value in options.items() if name in settings}


def _begin(given: Mapping[str, Any], settings: Mapping[str, Any], run: str) -> None:
    data, compute = _group(GivenData, given), _group(Compute, given)
    weights = join([load_checkpoint(each) for each in given["start_from"]]) if given["start_from"] else None
    what = plan_training(settings, given["recipe"], weights)
    config = what if isinstance(what, TrainingConfig) else what.first
    with claimed(Path(run)):
        teacher = _group(GivenTeachers, given).read(config.method, compute.device, compute.threads)
        with distributed.first_alone():
            training, validation = _load(data, config, distributed.is_first())
        if distributed.is_first():
            _print_data(training, validation)
        checkpoint = train(
            training,
            run,
            what,
            validation=validation,
            start=Start(weights, teacher or None),
            compute=compute,
            reading=Reading(data.cache, True),
        )
    if distributed.is_first():
        _print_outcome(run, checkpoint)


def _go_on(given: Mapping[str, Any], run: str) -> None:
    before = load_checkpoint(run) if _has_checkpoint(run) else None
    checkpoint = resume(run, data=given["data"], compute=_group(Compute, given), reading=Reading(given["cache"], True))
    if not distributed.is_first():
        return
    _print_outcome(run, checkpoint)
    if before and (before.config, before.iteration) == (checkpoint.config, checkpoint.iteration):
        click.echo("It was finished already; --resume had nothing to train.")


def _group(kind: type[T], given: Mapping[str, Any]) -> T:
    """The options that are fields of a dataclass."""
    return kind(**{field.name: given[field.name] for field in fields(kind)})  # type: ignore[arg-type]


def _is_restarted() -> bool:
    """Whether torchrun starts these processes again, after one of them ended."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def _has_checkpoint(run: str) -> bool:
    return (last_stage(run) / "checkpoint.pt").exists()


def _print_data(training: ImageDataset, validation: ImageDataset | None) -> None:
    for what, dataset in (("training", training), ("validation", validation)):
        if dataset:
            classes_and_images = words.plural(len(dataset.class_names), "class", "classes")
            click.echo(f"{what}: {classes_and_images}, {words.plural(len(dataset.images), 'image')}")


def _load(data: GivenData, config: TrainingConfig, progress: bool) -> tuple[ImageDataset, ImageDataset | None]:
    """The training and the validation classes."""

    def load(listings: tuple[str, ...]) -> ImageDataset:
        return load_dataset(
            data.data,
            config.preprocessing,
            listings,
            config.rotations,
            progress=progress,
            cache=data.cache,
            skip_bad=data.skip_bad,
        )

    training = load(data.classes)
    if not data.val_classes:
        return training, None
    validation = load(data.val_classes)
    both = set(training.class_names) & set(validation.class_names)
    if both:
        raise DataError(
            f"{data.data}: {words.plural(len(both), 'class is', 'classes are')} listed both to train and to validate on, such as "
            f"{min(both)}; list different ones with --classes and --val-classes."
        )
    return training, validation


def _print_outcome(run: str, checkpoint: Checkpoint) -> None:
    last = checkpoint.records[-1]
    minutes, seconds = divmod(round(checkpoint.seconds), 60)
    click.echo(
        f"{run}: {words.plural(checkpoint.iteration, 'outer step')} in {minutes}:{seconds:02d}, "
        f"loss {last.loss:.3f}, training accuracy {last.accuracy:.2%}"
    )
    if stopped_early(checkpoint):
        click.echo(f"Stopped early: {checkpoint.config.patience} validations in a row brought no better state.")
    if checkpoint.exported.validation is not None:
        click.echo(f"Exports: {words.exported_step(checkpoint)}")
    click.echo(f"Curve: {last_stage(run) / 'curve.png'}")
    click.echo(f"Next: edge-adapt export {run} -o MODEL.edge")
