"""One process of the command `train`: reads the data, trains what is planned, and says what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch

from edge_adapt.cli import words
from edge_adapt.cli.teachers import GivenTeachers
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.errors import DataError
from edge_adapt.training import distributed
from edge_adapt.training.budget import stopped_early
from edge_adapt.training.checkpoint import Checkpoint, last_stage, load_checkpoint
from edge_adapt.training.compute import Compute
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.ensemble import join
from edge_adapt.training.plan import plan_training
from edge_adapt.training.start import Reading, Start
from edge_adapt.training.train import train


@dataclass(frozen=True)
class GivenData:
    """What the options say of the data: where they lie, which classes to train and to validate on, and how they are read."""

    path: str
    classes: tuple[str, ...]
    val_classes: tuple[str, ...]
    cache: str | None
    skip_bad: bool


@dataclass(frozen=True)
class GivenStart:
    """What the options say of the start: runs to begin with the weights of, teachers, and whether to go on."""

    runs: tuple[str, ...]
    teachers: GivenTeachers
    resume: bool


def train_in_process(
    data: GivenData,
    run: str,
    chosen: Mapping[str, Any],
    recipe: str | None,
    start: GivenStart,
    compute: Compute,
    threads: int | None,
) -> None:
    """Train as the options say. Only the first process speaks."""
    if threads:
        torch.set_num_threads(threads)
    weights = join([load_checkpoint(each) for each in start.runs]) if start.runs else None
    plan = distributed.of_first(lambda: plan_training(run, chosen, recipe, start.resume, weights))
    is_recipe = not isinstance(plan.what, TrainingConfig)
    for option, value in (("--micro-batch", compute.micro_batch), ("--start-from", start.runs)):
        if is_recipe and value:
            raise click.UsageError(f"{option} is about one stage, and a recipe has several; leave it out.")
    teacher = start.teachers.read(plan.first.method, compute.device, threads)
    with distributed.first_alone():
        training, validation = _load(data, plan.first, distributed.is_first())
    if plan.previous and plan.previous.trained_on != training.description:
        raise DataError(f"{run} was trained on other data ({plan.previous.trained_on}); resume with the same.")
    if distributed.is_first():
        _print_data(training, validation)
    begun = Start(weights, teacher or None, start.resume)
    try:
        checkpoint = train(
            training,
            run,
            plan.what,
            validation=validation,
            start=begun,
            compute=compute,
            reading=Reading(data.cache, True),
        )
    except KeyboardInterrupt:
        if distributed.is_first() and any(Path(run).glob("**/checkpoint.pt")):
            click.echo(f"\n{run} keeps its last checkpoint; the same command with --resume goes on.", err=True)
        raise
    if distributed.is_first():
        _print_outcome(run, checkpoint, plan.previous)


def _print_data(training: ImageDataset, validation: ImageDataset | None) -> None:
    for what, dataset in (("training", training), ("validation", validation)):
        if dataset:
            classes_and_images = words.plural(len(dataset.class_names), "class", "classes")
            click.echo(f"{what}: {classes_and_images}, {words.plural(len(dataset.images), 'image')}")


def _load(data: GivenData, config: TrainingConfig, progress: bool) -> tuple[ImageDataset, ImageDataset | None]:
    """The training and the validation classes."""

    def load(listings: tuple[str, ...]) -> ImageDataset:
        return load_dataset(
            data.path,
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
            f"{data.path}: {words.plural(len(both), 'class is', 'classes are')} listed both to train and to validate on, such as "
            f"{min(both)}; list different ones with --classes and --val-classes."
        )
    return training, validation


def _print_outcome(run: str, checkpoint: Checkpoint, previous: Checkpoint | None) -> None:
    last = checkpoint.records[-1]
    minutes, seconds = divmod(round(checkpoint.seconds), 60)
    click.echo(
        f"{run}: {words.plural(checkpoint.iteration, 'outer step')} in {minutes}:{seconds:02d}, "
        f"loss {last.loss:.3f}, training accuracy {last.accuracy:.2%}"
    )
    if stopped_early(checkpoint):
        click.echo(f"Stopped early: {checkpoint.config.patience} validations in a row brought no better state.")
    if previous and (previous.config, previous.iteration) == (checkpoint.config, checkpoint.iteration):
        click.echo("It was finished already; --resume had nothing to train.")
    if checkpoint.exported.validation is not None:
        click.echo(f"Exports: {words.exported_step(checkpoint)}")
    click.echo(f"Curve: {last_stage(run) / 'curve.png'}")
    click.echo(f"Next: edge-adapt export {run} -o MODEL.edge")
