"""The outer loop, from where a run stands until its budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from edge_adapt.methods.maml import SecondOrder
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.progress import Progress
from edge_adapt.training import autotune, distributed
from edge_adapt.training.budget import is_due, spent_of
from edge_adapt.training.checkpoint import Checkpoint, Record
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.outer_step import OuterStep
from edge_adapt.training.run import save_checkpoint
from edge_adapt.training.start import TrainingState
from edge_adapt.training.stopping import stop_requests
from edge_adapt.training.validation import VALIDATIONS, Validation, better, out_of_patience

RECORDS = 100
"""Lines of metrics.csv in a whole run; some of them have a validation accuracy, `edge_adapt.training.validation.VALIDATIONS`."""

CHECKPOINT_SECONDS = 60.0


class Noted(NamedTuple):
    """What a checkpoint says of where a run comes from: its data in words, and digests; see `Checkpoint`."""

    trained_on: str
    provenance: Mapping[str, str]


class Trainer:
    """A run from where it stands until its budget is spent; each process has one, and the first writes.

    Args:
        run: the folder.
        config: what is trained.
        state: as it stands.
        measured: the validation classes, if there are any.
        noted: where the run comes from.
        previous: where an earlier stretch stopped.
    """

    def __init__(
        self,
        run: Path,
        config: TrainingConfig,
        state: TrainingState,
        measured: Validation | None,
        noted: Noted,
        previous: Checkpoint | None,
    ) -> None:
        self._run, self._config, self._state, self._measured, self._noted = run, config, state, measured, noted
        self._records = list(previous.records) if previous else []
        self._window = list(previous.window) if previous else []
        self._best = previous.best if previous else None
        self._iteration = previous.iteration if previous else 0
        self._seconds = previous.seconds if previous else 0.0
        self._validations = VALIDATIONS
        if measured and config.minutes is not None:
            seconds = autotune.SHARE * 60 * config.minutes
            self._validations = distributed.of_first(lambda: measured.fit_into(seconds, state.learner, state.execution))
        self._began = time.monotonic() - self._seconds

    def keep_start(self) -> None:
        """Measure what the run starts from, which it goes back to where it only gets worse."""
        if self._measured and self._keeps_best:
            self._best = better(None, 0, self._measure(self._measured), self._state.learner)

    def measure_end(self) -> None:
        """Measure again what has changed since the last record."""
        if self._measured and self._records and self._records[-1].iteration == self._iteration:
            self._records[-1] = replace(self._records[-1], validation=self._measure(self._measured))

    def run(self, progress: bool) -> None:
        """Outer steps until the budget is spent or patience is at an end."""
        config, state = self._config, self._state
        saved = time.monotonic()
        stopping = out_of_patience(config.patience, self._records)
        spent = distributed.of_first(lambda: spent_of(config, self._iteration, self._seconds))
        step = OuterStep(state.learner, state.objective, state.optimizer, state.generator, config.seed)
        total = float(config.iterations or (config.minutes or 0) * 60)
        unit = "steps" if config.iterations else ""
        shown = Progress("meta-training", total, unit, show=progress and distributed.is_first(), done=total * spent)
        with stop_requests() as stop_asked, shown as bar:
            state.learner.train()
            while spent < 1 and not stopping:
                loss = self._step(step, spent, bar)
                before, spent = spent, self._spent()
                measuring = self._measured is not None and is_due(self._validations, before, spent)
                bar.advance(total * (spent - before), "validating" if measuring else f"loss {loss:.3f}")
                if measuring or is_due(RECORDS, before, spent):
                    self._record(self._measured if measuring else None)
                    stopping = out_of_patience(config.patience, self._records)
                going_on = spent < 1 and not stopping  # or the caller writes the end, when all of it is done
                if stop_asked():
                    self.checkpoint()
                    raise KeyboardInterrupt
                if going_on and distributed.is_first() and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.checkpoint()
                    saved = time.monotonic()

    def checkpoint(self) -> Checkpoint:
        """What there is now, which the first process writes."""
        state = self._state
        if not all(bool(parameter.isfinite().all()) for parameter in state.learner.parameters()):
            raise self._diverged("a weight is not finite", self._iteration)
        reached = Checkpoint(
            self._config,
            self._noted.trained_on,
            state.execution,
            self._iteration,
            self._seconds,
            state.learner.state_dict(),
            state.optimizer.state_dict(),
            self._records,
            self._window,
            state.objective.state_dict(),
            self._best,
            self._measured.description if self._measured else "",
            self._noted.provenance,
            str(self._run.absolute()),
        )
        if distributed.is_first():
            save_checkpoint(self._run, reached)
        return reached

    def _step(self, step: OuterStep, spent: float, bar: Progress) -> float:
        """One outer step: its loss."""
        config, state = self._config, self._state
        peak = config.learning_rate or 0.0
        while (metrics := step.take(self._iteration, state.execution, spent, peak)) is None:
            state.execution = _with_less_memory(state.execution, state.objective.units, config, bar)
        loss, accuracy = (float(mean) for mean in metrics)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}", self._iteration + 1)
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
            self._best = better(self._best, self._iteration, accuracy, self._state.learner)

    @property
    def _keeps_best(self) -> bool:
        return self._config.method.keeps_best

    def _measure(self, validation: Validation) -> float:
        return distributed.of_first(lambda: validation.accuracy(self._state.learner, self._state.execution))

    def _spent(self) -> float:
        """The part of the budget that is behind, with the step that was just taken."""
        self._seconds = time.monotonic() - self._began
        if self._config.iterations is not None:
            return spent_of(self._config, self._iteration, 0)
        return distributed.of_first(lambda: spent_of(self._config, self._iteration, self._seconds))

    def _diverged(self, fault: str, step: int) -> EdgeAdaptError:
        return EdgeAdaptError(
            f"{self._run}: {fault} at outer step {step}; the last checkpoint is kept, try a lower learning rate."
        )


def _with_less_memory(execution: Execution, units: int, config: TrainingConfig, bar: Progress) -> Execution:
    """With a smaller micro-batch, and a line about it; EdgeAdaptError where there is none."""
    smaller, of_images = autotune.smaller(execution, units), config.method.of_images
    if smaller is None:
        remedy = "--image-size" if of_images else "--way, --shot or --query"
        if isinstance(config.method, SecondOrder) and not config.method.recompute:
            remedy += ", or take --recompute"
        raise EdgeAdaptError(
            f"memory does not suffice for a single {'image' if of_images else 'episode'}; choose a smaller {remedy}."
        )
    if distributed.is_first():
        what = "images" if of_images else "episodes"
        bar.say(
            f"memory does not suffice for {execution.micro_batch} {what} at once; going on with {smaller.micro_batch}"
        )
    return smaller
