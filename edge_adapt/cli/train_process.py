"""One process of the command `train`: reads the data, trains what is planned, and says what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch

from edge_adapt.cli import options
from edge_adapt.cli.teachers import GivenTeachers
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.errors import DataError
from edge_adapt.training import distributed
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.ensemble import join
from edge_adapt.training.plan import N_QUERY, plan_training
from edge_adapt.training.run import Checkpoint, last_stage, load_checkpoint
from edge_adapt.training.train import stopped_early


def train_in_process(
    data: str,
    run: str,
    recipe: str | None,
    settings: Mapping[str, Any],
    chosen: Set[str],
    *,
    teachers: GivenTeachers,
    start_from: tuple[str, ...],
    classes: tuple[str, ...],
    val_classes: tuple[str, ...],
    cache: str | None,
    skip_bad: bool,
    threads: int | None,
    resume: bool,
    piece: int | None,
    **arguments: Any,
) -> None:
    """Train as the options say; `arguments` are those of `edge_adapt.training.train.train`. Only the first process speaks."""
    if threads:
        torch.set_num_threads(threads)
    initial = join([load_checkpoint(each) for each in start_from]) if start_from else None
    plan = distributed.of_first(lambda: plan_training(run, recipe, resume, settings, chosen, initial))
    if plan.recipe is None:
        arguments |= {"initial": initial, "piece": piece}
    for option, value in (("--episodes-per-piece", piece), ("--start-from", start_from)):
        if plan.recipe and value:
            raise click.UsageError(f"{option} is about one stage, and a recipe has several; leave it out.")
    teacher = teachers.read(plan.config.method, arguments["device"], threads)
    with distributed.first_alone():
        training, validation = _load(data, classes, val_classes, plan.config, cache, skip_bad, distributed.is_first())
    if plan.n_query_is_free:
        left = int(training.counts.min()) - plan.config.n_shot
        plan.config = replace(plan.config, n_query=max(1, min(N_QUERY, left)))
    trained_on = _describe(data, classes, training, plan.config.rotations)
    if plan.previous and plan.previous.trained_on != trained_on:
        raise DataError(f"{run} was trained on other data ({plan.previous.trained_on}); resume with the same.")
    if distributed.is_first():
        _print_data(training, validation)
    try:
        checkpoint = plan.train(
            training,
            run,
            validation=validation,
            resume=resume,
            trained_on=trained_on,
            teacher=teacher,
            cache=cache,
            progress=True,
            **arguments,
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
            classes_and_images = options.plural(len(dataset.class_names), "class", "classes")
            click.echo(f"{what}: {classes_and_images}, {options.plural(len(dataset.images), 'image')}")


def _load(
    data: str,
    classes: tuple[str, ...],
    val_classes: tuple[str, ...],
    config: TrainingConfig,
    cache: str | None,
    skip_bad: bool,
    progress: bool,
) -> tuple[ImageDataset, ImageDataset | None]:
    """The training and the validation classes."""

    def load(listings: tuple[str, ...]) -> ImageDataset:
        return load_dataset(
            data, config.preprocessing, listings, config.rotations, progress=progress, cache=cache, skip_bad=skip_bad
        )

    training = load(classes)
    if not val_classes:
        return training, None
    validation = load(val_classes)
    both = set(training.class_names) & set(validation.class_names)
    if both:
        raise DataError(
            f"{data}: {options.plural(len(both), 'class is', 'classes are')} listed both to train and to validate on, such as "
            f"{min(both)}; list different ones with --classes and --val-classes."
        )
    return training, validation


def _describe(data: str, classes: Sequence[str], dataset: ImageDataset, rotations: bool) -> str:
    """What a model was trained on, in words for its bundle: names of files and how much was in them, but not where they lay."""
    turns = 4 if rotations else 1
    listed = f" ({', '.join(Path(listing).name for listing in classes)})" if classes else ""
    return (
        f"{Path(data).resolve().stem}{listed}: {options.plural(len(dataset.class_names) // turns, 'class', 'classes')}, "
        f"{options.plural(len(dataset.images) // turns, 'image')}{', in four rotations each' if rotations else ''}"
    )


def _print_outcome(run: str, checkpoint: Checkpoint, previous: Checkpoint | None) -> None:
    last = checkpoint.records[-1]
    minutes, seconds = divmod(round(checkpoint.seconds), 60)
    click.echo(
        f"{run}: {options.plural(checkpoint.iteration, 'outer step')} in {minutes}:{seconds:02d}, "
        f"loss {last.loss:.3f}, training accuracy {last.accuracy:.2%}"
    )
    if stopped_early(checkpoint):
        click.echo(f"Stopped early: {checkpoint.config.patience} validations in a row brought no better state.")
    if previous and (previous.config, previous.iteration) == (checkpoint.config, checkpoint.iteration):
        click.echo("It was finished already; --resume had nothing to train.")
    if checkpoint.exported.validation is not None:
        click.echo(f"Exports: {options.exported_step(checkpoint)}")
    click.echo(f"Curve: {last_stage(run) / 'curve.png'}")
    click.echo(f"Next: edge-adapt export {run} -o MODEL.edge")
