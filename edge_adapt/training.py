"""Training: the one loop, whatever it minimizes."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

import torch
from torch import nn

from edge_adapt import distributed
from edge_adapt import tuning as tuning_module
from edge_adapt.augmentation import augment
from edge_adapt.building import build_learner
from edge_adapt.configuration import TrainingConfig
from edge_adapt.episodes import ImageSampler
from edge_adapt.frozen_features import digest_of_state
from edge_adapt.methods import METHODS
from edge_adapt.outer_loop import TrainingData
from edge_adapt.outer_step import OuterStep
from edge_adapt.run import Checkpoint, Record, load_checkpoint, misfit, save_checkpoint, save_sample
from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.progress import Progress
from edge_adapt.starting import centre, classified_features, pixel_statistics, start_from
from edge_adapt.teacher import Teacher
from edge_adapt.tuning import Device, Tuning, choose_device
from edge_adapt.validation import VALIDATIONS, Validation, better, out_of_patience, require_validation

WARM_UP = 100
"""Outer steps over which the learning rate rises to its peak."""

RECORDS = 100
"""Lines of metrics.csv in a whole run; some of them have a validation accuracy, `edge_adapt.validation.VALIDATIONS`."""

CHECKPOINT_SECONDS = 60.0


@distributed.joined()
def train(
    data: ImageDataset,
    run: str | os.PathLike[str],
    config: TrainingConfig,
    *,
    validation: ImageDataset | None = None,
    backbone: nn.Module | None = None,
    device: Device = "auto",
    initial: Checkpoint | None = None,
    teacher: Checkpoint | None = None,
    resume: bool = False,
    piece: int | None = None,
    bf16: bool | None = None,
    trained_on: str = "",
    progress: bool = False,
) -> Checkpoint:
    """Meta-train a model and leave it in the folder `run`.

    With `config.iterations`, on a CPU with the same number of threads, a run that was interrupted and resumed gives the very
    weights of one that was not: what an outer step draws follows from its number; see `edge_adapt.outer_step`. So the processes
    that `torchrun` starts, of which each calls this function, give the weights of one process up to the rounding of sums.

    Args:
        data: the training classes.
        run: the folder to write; see `edge_adapt.run`.
        config: what to train.
        validation: classes to measure on along the way: where the accuracy on them is best is what exports, unless the method
            ends at its best (`Method.keeps_best`). A run that is resumed needs the same.
        backbone: a module of one's own, float [B, C, H, W] -> float [B, D], in place of `config.backbone`.
        device: `auto`, `cpu` or `cuda`.
        initial: the end of another run of the same backbone, such as pre-training, to start from; not needed to resume.
        teacher: the end of a run of `classify` on the same classes, which a run of `classify` distils; needed again to resume.
        resume: go on from the checkpoint in `run`, if there is one.
        piece: episodes (for `classify`: images) that are computed together; None takes what a run that is resumed had, all on a
            GPU, and on a CPU measures what is fastest.
        bf16: run the backbone under bfloat16 autocast or not; None takes what a run that is resumed had, bfloat16 on a GPU that
            has it in hardware, and on a CPU measures what is faster.
        trained_on: the data in words, for the bundle.
        progress: show a bar.

    Raises:
        DataError: the classes or images do not suffice for the episodes.
        EdgeAdaptError: `run` holds another run, the configuration does not fit, `head` has no weights to start from, the loss is
            no longer finite, memory does not suffice for a single episode, or another process ended.
    """
    folder, place = Path(run), distributed.place(choose_device(device))
    if backbone is not None:
        config = replace(config, backbone="custom")
    require_data(config, data, validation)
    if (config.iterations is None) == (config.minutes is None):
        raise EdgeAdaptError("a training budget is either iterations or minutes; give exactly one of the two.")
    if teacher and config.method != "classify":
        raise EdgeAdaptError(f"a teacher is for the method classify, and this is {config.method}; leave it out.")
    measured = Validation(validation, config, place) if validation is not None else None
    given = {
        "teacher": digest_of_state({**teacher.learner, **teacher.objective}) if teacher else "",
        "initial": digest_of_state(initial.exported.learner) if initial else "",
        "validation": measured.digest if measured else "",
    }
    previous = distributed.of_first(lambda: _previous(folder, config, resume, given))
    if config.method == "head" and backbone is None and not (config.pretrained or initial or previous):
        raise EdgeAdaptError(
            "the method head leaves the backbone as it is, and this one has learned nothing; give a run with --start-from, or "
            "take --pretrained."
        )
    if place.type == "cpu":
        tuning_module.keep_freed_memory()
    torch.manual_seed(config.seed)
    fetching = config.pretrained and not (previous or initial)  # whose weights take the place of those fetched
    learner = build_learner(replace(config, pretrained=fetching), *pixel_statistics(data), backbone).to(place)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(place)
    drawing = TrainingData(
        ImageSampler(data, place),
        generator,
        classified_features(learner.embedding.backbone, config),
        functools.partial(augment, generator=generator, size=config.crop_size) if config.augment else None,
        Teacher(teacher, place) if teacher else None,
    )
    objective = METHODS[config.method].objective(config, drawing)
    optimizer = objective.optimizer(learner, config.learning_rate)
    _require_piece(piece, objective.units, config)
    if previous:
        try:
            learner.load_state_dict(dict(previous.learner))
            objective.load_state_dict(previous.objective)
            optimizer.load_state_dict(dict(previous.optimizer))
        except (RuntimeError, ValueError) as error:
            raise misfit(folder, config, backbone) from error
    elif initial:
        kinds = {METHODS[name].head for name in (config.method, initial.config.method)}
        new_head = config.method == "head" or initial.config.method == "classify" or len(kinds) > 1
        start_from(learner, objective, initial, new_head, data, place)
    elif config.method != "classify":
        centre(learner, data, place)
    distributed.copy_from_first([*learner.state_dict().values(), *objective.state_dict().values()])
    with distributed.first_alone():
        objective.prepare(learner)
    processes = distributed.processes()
    if previous:
        kept = Tuning(piece or previous.tuning.piece, previous.tuning.bf16 if bf16 is None else bf16)
        tuning = tuning_module.shared(kept, objective.units, processes)
    else:  # all measure at once, as they will compute
        fastest = tuning_module.choose(learner, place, objective, piece, bf16, processes)
        tuning = distributed.of_first(lambda: fastest)
    records = list(previous.records) if previous else []
    window = list(previous.window) if previous else []
    best = previous.best if previous else None
    noted = {name: digest or (previous.given.get(name, "") if previous else "") for name, digest in given.items()}
    iteration = previous.iteration if previous else 0
    seconds_before = previous.seconds if previous else 0.0
    began = saved = time.monotonic()

    def diverged(fault: str, step: int) -> EdgeAdaptError:
        kept = "the last checkpoint is kept, " if (folder / "checkpoint.pt").exists() else ""
        return EdgeAdaptError(f"{folder}: {fault} at outer step {step}; {kept}try a lower learning rate.")

    def checkpoint() -> Checkpoint:
        if not all(bool(parameter.isfinite().all()) for parameter in learner.parameters()):
            raise diverged("a weight is not finite", iteration)
        seconds = seconds_before + time.monotonic() - began
        state = Checkpoint(
            config,
            trained_on,
            tuning,
            iteration,
            seconds,
            learner.state_dict(),
            optimizer.state_dict(),
            records,
            window,
            objective.state_dict(),
            best,
            measured.description if measured else "",
            noted,
        )
        if distributed.is_first():
            save_checkpoint(folder, state)
        return state

    def spent() -> float:
        if config.iterations is not None:
            return _fraction(config, iteration, 0)
        return distributed.of_first(lambda: _fraction(config, iteration, seconds_before + time.monotonic() - began))

    def measure(validation: Validation) -> float:
        return distributed.of_first(lambda: validation.accuracy(learner, tuning))

    if distributed.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        save_sample(folder, validation or data)
    if initial and measured and not previous and METHODS[config.method].keeps_best:
        best = better(None, 0, measure(measured), learner)  # which a run that only gets worse goes back to
    stopping = out_of_patience(config.patience, records)
    fraction = distributed.of_first(lambda: _fraction(config, iteration, seconds_before))
    step = OuterStep(learner, objective, optimizer, generator, config.seed)
    total = float(config.iterations or (config.minutes or 0) * 60)
    unit = "steps" if config.iterations else ""
    with Progress("meta-training", total, unit, show=progress and distributed.is_first(), done=total * fraction) as bar:
        learner.train()
        while fraction < 1 and not stopping:
            for group in optimizer.param_groups:
                group["lr"] = (
                    config.learning_rate * min(1.0, (iteration + 1) / WARM_UP) * (1 + math.cos(math.pi * fraction)) / 2
                )
            while (figures := step.compute(iteration, tuning, fraction)) is None:
                tuning = _with_less_memory(tuning, objective.units, config, bar)
            loss, accuracy = figures
            if not math.isfinite(loss):
                raise diverged(f"the loss is {loss}", iteration + 1)
            optimizer.step()
            iteration += 1
            window.append((loss, accuracy))
            before, fraction = fraction, spent()
            bar.advance(total * (fraction - before), f"loss {loss:.3f}")
            measuring = measured is not None and _due(VALIDATIONS, before, fraction)
            if measuring or _due(RECORDS, before, fraction):
                accuracy_now = measure(measured) if measured and measuring else None
                means = [sum(column) / len(window) for column in zip(*window, strict=True)]
                records.append(
                    Record(iteration, seconds_before + time.monotonic() - began, means[0], means[1], accuracy_now)
                )
                window.clear()
                if accuracy_now is not None and METHODS[config.method].keeps_best:
                    best = better(best, iteration, accuracy_now, learner)
                stopping = out_of_patience(config.patience, records)
            if distributed.is_first() and time.monotonic() - saved > CHECKPOINT_SECONDS:
                checkpoint()
                saved = time.monotonic()
    if config.method == "classify":
        centre(learner, data, place)
        if measured and records and records[-1].iteration == iteration:  # only now are the features those that export
            records[-1] = replace(records[-1], validation=measure(measured))
    return checkpoint()


def is_finished(checkpoint: Checkpoint) -> bool:
    """Whether a run has spent its budget, or has stopped early."""
    return _fraction(checkpoint.config, checkpoint.iteration, checkpoint.seconds) >= 1 or stopped_early(checkpoint)


def stopped_early(checkpoint: Checkpoint) -> bool:
    """Whether a run has run out of patience before its budget was spent."""
    spent = _fraction(checkpoint.config, checkpoint.iteration, checkpoint.seconds)
    return spent < 1 and out_of_patience(checkpoint.config.patience, checkpoint.records)


def _previous(run: Path, config: TrainingConfig, resume: bool, given: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one and that was asked for."""
    if (run / "recipe.json").exists():
        raise EdgeAdaptError(
            f"{run} holds the stages of a recipe; go on with them by --resume, or write to another folder."
        )
    if not (run / "checkpoint.pt").exists():
        return None
    if not resume:
        raise EdgeAdaptError(f"{run} holds a run already; go on with --resume or write to another folder.")
    previous = load_checkpoint(run)
    if previous.config != config:
        raise EdgeAdaptError(
            f"{run} was trained with other settings ({differences(previous.config, config)}); resume with the same, or write to "
            "another folder."
        )
    then = {**given, **previous.given}  # a run of an earlier edge-adapt noted nothing
    if then["teacher"] != given["teacher"]:
        raise EdgeAdaptError(
            f"{run} was trained with a teacher, and this is {'another' if given['teacher'] else 'none'}; resume with the same "
            "--teacher."
            if then["teacher"]
            else f"{run} was trained without a teacher; resume without --teacher."
        )
    if given["initial"] and then["initial"] != given["initial"]:
        raise EdgeAdaptError(f"{run} did not start from these weights; resume without --start-from.")
    if previous.validated_on and (not given["validation"] or then["validation"] != given["validation"]):
        raise EdgeAdaptError(
            f"{run} was measured on other validation classes ({previous.validated_on}); resume with the same, by which "
            "its best state is chosen."
        )
    return previous


def differences(then: TrainingConfig, now: TrainingConfig) -> str:
    """The settings that differ, in words."""
    pairs = [(field.name, getattr(then, field.name), getattr(now, field.name)) for field in fields(then)]
    return ", ".join(f"{name} {before}, not {after}" for name, before, after in pairs if before != after)


def require_data(config: TrainingConfig, data: ImageDataset, validation: ImageDataset | None) -> None:
    """Raise DataError unless the data sets have the pixels of the configuration, and classes and images enough."""
    require_validation(config, validation)
    require = METHODS[config.method].require
    if require:
        require(data)
    else:
        data.require(config.n_way, config.n_shot + config.n_query)
    _require_pixels(config, data)
    if validation is not None:
        validation.require(max(2, min(config.n_way, len(validation.class_names))), config.n_shot + 1)
        _require_pixels(config, validation)


def _require_pixels(config: TrainingConfig, data: ImageDataset) -> None:
    size = config.preprocessing
    expected = (size.height, size.width, size.channels)
    if data.images.shape[1:] != expected:
        raise DataError(
            f"{data.source} was read as {data.images.shape[1:]} and the configuration takes {expected} (H, W, C); "
            "read it with config.preprocessing."
        )


def _require_piece(piece: int | None, units: int, config: TrainingConfig) -> None:
    """Raise unless a piece that the user chose divides an outer step and leaves something to each process, and a batch of images
    has pieces that share batch statistics."""
    processes = distributed.processes()
    largest = tuning_module.largest_piece(units, processes)
    if config.method == "classify" and largest == 1:
        fitting = math.ceil(units / (2 * processes)) * 2 * processes
        raise EdgeAdaptError(
            f"{units} images in a step leave single ones to {processes} processes, without batch statistics; choose a "
            f"--batch-size that they can share, such as {fitting}."
        )
    if piece is None:
        return
    if units % piece:
        raise EdgeAdaptError(f"a piece of {piece} does not divide the {units} of an outer step.")
    if piece > largest:
        raise EdgeAdaptError(
            f"pieces of {piece} do not give each of the {processes} processes one of the {units} of an outer step; "
            f"choose {largest} or less, or a larger --meta-batch."
        )


def _with_less_memory(tuning: Tuning, units: int, config: TrainingConfig, bar: Progress) -> Tuning:
    """With a smaller piece, and a line about it; EdgeAdaptError where there is none."""
    smaller, classifies = tuning_module.smaller(tuning, units), config.method == "classify"
    if smaller is None:
        remedy = "--image-size" if classifies else "--way, --shot or --query"
        if "recompute" in METHODS[config.method].options and not config.recompute:
            remedy += ", or take --recompute"
        raise EdgeAdaptError(
            f"memory does not suffice for a single {'image' if classifies else 'episode'}; choose a smaller {remedy}."
        )
    if distributed.is_first():
        what = "images" if classifies else "episodes"
        bar.say(f"memory does not suffice for {tuning.piece} {what} at once; going on with {smaller.piece}")
    return smaller


def _due(times: int, before: float, fraction: float) -> bool:
    """Whether, of `times` evenly spaced moments of a run, one lies after `before` and not after `fraction`; the last always."""
    return fraction >= 1 or int(fraction * times + 1e-9) > int(before * times + 1e-9)


def _fraction(config: TrainingConfig, iteration: int, seconds: float) -> float:
    """How much of the budget is spent, 0 to 1."""
    if config.iterations is not None:
        return min(1.0, iteration / config.iterations)
    return min(1.0, seconds / (60 * (config.minutes or 0)))
