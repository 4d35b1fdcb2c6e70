"""Training: the one loop, whatever it minimizes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from torch import nn

from edge_adapt.methods import METHODS
from edge_adapt.methods.feature_cache import digest_of_state
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.progress import Progress
from edge_adapt.training import autotune as tuning_module
from edge_adapt.training import distributed
from edge_adapt.training.autotune import Device, Tuning, choose_device
from edge_adapt.training.compiling import still_fused
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.outer_step import OuterStep
from edge_adapt.training.run import Checkpoint, Record, load_checkpoint, save_checkpoint, save_sample
from edge_adapt.training.start import Trainee, begin, centre
from edge_adapt.training.teacher import digest_of_teacher, require_fitting_teacher
from edge_adapt.training.validation import (
    VALIDATIONS,
    Validation,
    better,
    digest_of_classes,
    out_of_patience,
    require_validation,
)

WARM_UP = 100
"""Outer steps over which the learning rate rises to its peak."""

RECORDS = 100
"""Lines of metrics.csv in a whole run; some of them have a validation accuracy, `edge_adapt.training.validation.VALIDATIONS`."""

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
    teacher: Checkpoint | FeatureTeacher | Sequence[FeatureTeacher] | None = None,
    resume: bool = False,
    piece: int | None = None,
    bf16: bool | None = None,
    cache: str | os.PathLike[str] | None = None,
    trained_on: str = "",
    progress: bool = False,
) -> Checkpoint:
    """Meta-train a model and leave it in the folder `run`.

    With `config.iterations`, on a CPU with the same number of threads, a run that was interrupted and resumed gives the very
    weights of one that was not: what an outer step draws follows from its number; see `edge_adapt.training.outer_step`. So the
    processes that `torchrun` starts, of which each calls this function, give the weights of one process up to the rounding of
    sums.

    Args:
        data: the training classes.
        run: the folder to write; see `edge_adapt.training.run`.
        config: what to train.
        validation: classes to measure on along the way: where the accuracy on them is best is what exports, unless the method
            ends at its best (`Method.keeps_best`). A run that is resumed needs the same.
        backbone: a module of one's own, float [B, C, H, W] -> float [B, D], in place of `config.backbone`.
        device: `auto`, `cpu` or `cuda`.
        initial: the end of another run of the same backbone, such as pre-training, to start from; not needed to resume.
        teacher: the end of a run of `classify` on the same classes, whose answers a run of `classify` distils; or, for `distil`,
            one or several whose features it learns. Needed again to resume.
        resume: go on from the checkpoint in `run`, if there is one.
        piece: episodes (or images, see `Method.of_images`) that are computed together; None takes what a run that is resumed had,
            all on a GPU, and on a CPU measures what is fastest.
        bf16: run the backbone under bfloat16 autocast or not; None takes what a run that is resumed had, bfloat16 on a GPU that
            has it in hardware, and on a CPU measures what is faster.
        cache: the folder for the features that `head` and `distil` learn from; None takes the default of `load_dataset`.
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
    class_names = digest_of_classes(data, counts=False)
    teacher = (teacher,) if isinstance(teacher, FeatureTeacher) else teacher
    require_fitting_teacher(teacher, config, class_names)
    measured = Validation(validation, config, place) if validation is not None else None
    given = {
        "teacher": digest_of_teacher(teacher),
        "initial": digest_of_state(initial.exported.learner) if initial else "",
        "validation": digest_of_classes(validation),
        "classes": class_names,
    }
    previous = distributed.of_first(lambda: _previous(folder, config, resume, given))
    if config.method == "head" and backbone is None and not (config.pretrained or initial or previous):
        raise EdgeAdaptError(
            "the method head leaves the backbone as it is, and this one has learned nothing; give a run with --start-from, or "
            "take --pretrained."
        )
    trainee = begin(data, config, place, folder, backbone, previous, initial, teacher, piece, bf16, cache, progress)
    if previous and trainee.tuning.fused and not is_finished(previous):
        trainee.tuning = still_fused(trainee.tuning, trainee.learner, place, trainee.objective)
    noted = {name: digest or (previous.given.get(name, "") if previous else "") for name, digest in given.items()}
    stretch = _Stretch(folder, config, trainee, previous, measured, trained_on, noted)
    if distributed.is_first():
        save_sample(folder, validation or data)
    if not previous:
        if initial:
            stretch.keep_start()
        stretch.checkpoint()  # so that what is resumed is this run, whenever it is stopped
    stretch.run(progress)
    if METHODS[config.method].of_images:
        centre(trainee.learner, data, place)
        stretch.measure_end()
    return stretch.checkpoint()


class _Stretch:
    """A run from where it stands until its budget is spent; each process has one, and the first writes.

    Args:
        run: the folder.
        config: what is trained.
        trainee: as it stands.
        previous: where an earlier stretch stopped.
        measured: the validation classes, if there are any.
        trained_on, given: see `Checkpoint`.
    """

    def __init__(
        self,
        run: Path,
        config: TrainingConfig,
        trainee: Trainee,
        previous: Checkpoint | None,
        measured: Validation | None,
        trained_on: str,
        given: Mapping[str, str],
    ) -> None:
        self._run, self._config, self._trainee, self._measured = run, config, trainee, measured
        self._trained_on, self._given = trained_on, given
        self._records = list(previous.records) if previous else []
        self._window = list(previous.window) if previous else []
        self._best = previous.best if previous else None
        self._iteration = previous.iteration if previous else 0
        self._seconds = previous.seconds if previous else 0.0
        self._began = time.monotonic() - self._seconds

    def keep_start(self) -> None:
        """Measure what the run starts from, which it goes back to where it only gets worse."""
        if self._measured and self._keeps_best:
            self._best = better(None, 0, self._measure(self._measured), self._trainee.learner)

    def measure_end(self) -> None:
        """Measure again what has changed since the last record."""
        if self._measured and self._records and self._records[-1].iteration == self._iteration:
            self._records[-1] = replace(self._records[-1], validation=self._measure(self._measured))

    def run(self, progress: bool) -> None:
        """Outer steps until the budget is spent or patience is at an end."""
        config, trainee = self._config, self._trainee
        saved = time.monotonic()
        stopping = out_of_patience(config.patience, self._records)
        fraction = distributed.of_first(lambda: _fraction(config, self._iteration, self._seconds))
        step = OuterStep(trainee.learner, trainee.objective, trainee.optimizer, trainee.generator, config.seed)
        total = float(config.iterations or (config.minutes or 0) * 60)
        unit = "steps" if config.iterations else ""
        with Progress(
            "meta-training", total, unit, show=progress and distributed.is_first(), done=total * fraction
        ) as bar:
            trainee.learner.train()
            while fraction < 1 and not stopping:
                loss = self._step(step, fraction, bar)
                before, fraction = fraction, self._spent()
                bar.advance(total * (fraction - before), f"loss {loss:.3f}")
                measuring = self._measured is not None and _due(VALIDATIONS, before, fraction)
                if measuring or _due(RECORDS, before, fraction):
                    self._record(self._measured if measuring else None)
                    stopping = out_of_patience(config.patience, self._records)
                going_on = fraction < 1 and not stopping  # or the caller writes the end, when all of it is done
                if going_on and distributed.is_first() and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.checkpoint()
                    saved = time.monotonic()

    def checkpoint(self) -> Checkpoint:
        """What there is now, which the first process writes."""
        trainee = self._trainee
        if not all(bool(parameter.isfinite().all()) for parameter in trainee.learner.parameters()):
            raise self._diverged("a weight is not finite", self._iteration)
        state = Checkpoint(
            self._config,
            self._trained_on,
            trainee.tuning,
            self._iteration,
            self._seconds,
            trainee.learner.state_dict(),
            trainee.optimizer.state_dict(),
            self._records,
            self._window,
            trainee.objective.state_dict(),
            self._best,
            self._measured.description if self._measured else "",
            self._given,
        )
        if distributed.is_first():
            save_checkpoint(self._run, state)
        return state

    def _step(self, step: OuterStep, fraction: float, bar: Progress) -> float:
        """One outer step at the rate of this part of the budget: its loss."""
        config, trainee = self._config, self._trainee
        rate = config.learning_rate * min(1.0, (self._iteration + 1) / WARM_UP) * (1 + math.cos(math.pi * fraction)) / 2
        for group in trainee.optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1.0)
        while (figures := step.compute(self._iteration, trainee.tuning, fraction)) is None:
            trainee.tuning = _with_less_memory(trainee.tuning, trainee.objective.units, config, bar)
        loss, accuracy = figures
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}", self._iteration + 1)
        trainee.optimizer.step()
        self._iteration += 1
        self._window.append((loss, accuracy))
        return loss

    def _record(self, measured: Validation | None) -> None:
        """A line of metrics.csv, with an accuracy on the validation classes where they are given."""
        accuracy = self._measure(measured) if measured else None
        loss, right = (sum(column) / len(self._window) for column in zip(*self._window, strict=True))
        self._records.append(Record(self._iteration, self._seconds, loss, right, accuracy))
        self._window.clear()
        if accuracy is not None and self._keeps_best:
            self._best = better(self._best, self._iteration, accuracy, self._trainee.learner)

    @property
    def _keeps_best(self) -> bool:
        return METHODS[self._config.method].keeps_best

    def _measure(self, validation: Validation) -> float:
        return distributed.of_first(lambda: validation.accuracy(self._trainee.learner, self._trainee.tuning))

    def _spent(self) -> float:
        """The part of the budget that is behind, with the step that was just taken."""
        self._seconds = time.monotonic() - self._began
        if self._config.iterations is not None:
            return _fraction(self._config, self._iteration, 0)
        return distributed.of_first(lambda: _fraction(self._config, self._iteration, self._seconds))

    def _diverged(self, fault: str, step: int) -> EdgeAdaptError:
        return EdgeAdaptError(
            f"{self._run}: {fault} at outer step {step}; the last checkpoint is kept, try a lower learning rate."
        )


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
    if replace(previous.config, recompute=config.recompute) != config:  # which saves memory, and changes nothing else
        raise EdgeAdaptError(
            f"{run} was trained with other settings ({differences(previous.config, config)}); resume with the same, or write to "
            "another folder."
        )
    then = {**given, **previous.given}  # a run of an earlier edge-adapt noted nothing
    require_same_teacher(run, then["teacher"], given["teacher"])
    if given["initial"] and then["initial"] != given["initial"]:
        raise EdgeAdaptError(f"{run} did not start from these weights; resume without --start-from.")
    require_same_validation(run, previous, given["validation"])
    return previous


def require_same_teacher(run: Path, then: str, given: str) -> None:
    """Raise where a run was trained with another teacher than that of this digest, empty for none."""
    if then != given:
        raise EdgeAdaptError(
            f"{run} was trained with a teacher, and this is {'another' if given else 'none'}; resume with the same --teacher."
            if then
            else f"{run} was trained without a teacher; resume without --teacher."
        )


def require_same_validation(run: Path, previous: Checkpoint, digest: str) -> None:
    """Raise where a run was measured on other validation classes than those of this digest, empty for none."""
    if previous.validated_on and (not digest or previous.given.get("validation", digest) != digest):
        raise EdgeAdaptError(
            f"{run} was measured on {'other ' if digest else ''}validation classes ({previous.validated_on}), by which its best "
            "state is chosen; resume with the same --val-classes."
        )


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


def _with_less_memory(tuning: Tuning, units: int, config: TrainingConfig, bar: Progress) -> Tuning:
    """With a smaller piece, and a line about it; EdgeAdaptError where there is none."""
    smaller, of_images = tuning_module.smaller(tuning, units), METHODS[config.method].of_images
    if smaller is None:
        remedy = "--image-size" if of_images else "--way, --shot or --query"
        if "recompute" in METHODS[config.method].options and not config.recompute:
            remedy += ", or take --recompute"
        raise EdgeAdaptError(
            f"memory does not suffice for a single {'image' if of_images else 'episode'}; choose a smaller {remedy}."
        )
    if distributed.is_first():
        what = "images" if of_images else "episodes"
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
