"""Several runs side by side: what each spent and reached, as a table and as a picture of their validation curves."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edge_adapt.reports.labels import apart
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.budget import is_finished, stopped_early
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint, stages_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9")
"""Okabe and Ito's, which the colour-blind tell apart, on white paper without yellow and black. After them come dashes."""

MOST_DIRECT_LABELS = 6
"""Curves that bear their names at their ends; more of them are named in a legend."""

Axis = Literal["steps", "minutes"]


@dataclass(frozen=True)
class ComparedRun:
    """A run, or a stage of one.

    Attributes:
        name: the folder as it was given, with that of the stage.
        checkpoint: where it is.
    """

    name: str
    checkpoint: Checkpoint

    @property
    def state(self) -> str:
        """`finished`, `stopped early` or `unfinished`."""
        if stopped_early(self.checkpoint):
            return "stopped early"
        return "finished" if is_finished(self.checkpoint) else "unfinished"

    @property
    def curve(self) -> list[tuple[int, float, float]]:
        """Outer step, seconds and accuracy (a fraction) of each validation."""
        records = self.checkpoint.records
        return [(each.iteration, each.seconds, each.validation) for each in records if each.validation is not None]

    def describe(self) -> dict[str, Any]:
        """The run as plain data, what exports and each validation with it."""
        checkpoint, config, exported = self.checkpoint, self.checkpoint.config, self.checkpoint.exported
        return {
            "run": self.name,
            "state": self.state,
            "method": config.method.name,
            "backbone": config.backbone,
            "n_way": config.n_way,
            "n_shot": config.n_shot,
            "iterations": checkpoint.iteration,
            "seconds": checkpoint.seconds,
            "exported": {"iteration": exported.iteration, "validation": exported.validation},
            "loss": checkpoint.records[-1].loss if checkpoint.records else None,
            "trained_on": checkpoint.trained_on,
            "validated_on": checkpoint.validated_on,
            "validations": [
                {"iteration": iteration, "seconds": seconds, "accuracy": accuracy}
                for iteration, seconds, accuracy in self.curve
            ],
        }


def compare(folders: Sequence[str | os.PathLike[str]]) -> list[ComparedRun]:
    """The runs in these folders, each stage that has begun as a run of its own.

    Raises:
        EdgeAdaptError: one of them is no run, or cannot be read.
    """
    return [ComparedRun(str(stage), load_checkpoint(stage)) for folder in folders for stage in stages_of(folder)]


def table(runs: Sequence[ComparedRun]) -> str:
    """A line a run: what it is, what it has spent, and what it has reached."""
    lines = [_HEADINGS, *(_cells(run) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if heading in _NUMBERS else cell.ljust(width)
            for cell, width, heading in zip(line, widths, _HEADINGS, strict=True)
        ).rstrip()
        for line in lines
    )


_NUMBERS = ("steps", "minutes", "validation", "at step", "loss")

_HEADINGS = ("run", "method", "backbone", "episodes", "state", *_NUMBERS, "validated on", "trained on")


def _cells(run: ComparedRun) -> tuple[str, ...]:
    described = run.describe()
    exported = described["exported"]
    return (
        run.name,
        described["method"],
        described["backbone"],
        f"{described['n_way']}-way {described['n_shot']}-shot",
        run.state,
        f"{described['iterations']:,}",
        f"{described['seconds'] / 60:.1f}",
        "-" if exported["validation"] is None else f"{exported['validation']:.2%}",
        f"{exported['iteration']:,}",
        "-" if described["loss"] is None else f"{described['loss']:.3f}",
        described["validated_on"] or "-",
        described["trained_on"] or "-",
    )


def picture(runs: Sequence[ComparedRun], against: Axis = "steps") -> bytes:
    """A PNG of the validation curves against outer steps or minutes, with a ring around what exports.

    Raises:
        EdgeAdaptError: none of the runs was measured on validation classes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = [run for run in runs if run.curve]
    if not drawn:
        raise EdgeAdaptError("none of these runs was measured on validation classes, so there is no curve to draw.")
    figure = Figure(figsize=(9, 5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    measured = sorted({run.checkpoint.validated_on for run in drawn})
    names = _short([run.name for run in drawn])
    if len(measured) > 1:  # accuracies of different episodes in one picture: say which is which
        names = [f"{name} ({run.checkpoint.validated_on})" for name, run in zip(names, drawn, strict=True)]
    for index, run in enumerate(drawn):
        _draw(axes, run, against, index, names[index])
    axes.set_xlabel({"steps": "outer step", "minutes": "minutes of training"}[against])
    axes.set_ylabel("validation accuracy (%)" + (f", {measured[0]}" if len(measured) == 1 and measured[0] else ""))
    axes.set_xlim(left=0)
    axes.set_title("a ring: what the run exports", loc="left", fontsize="small", color="#555555")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(drawn) <= MOST_DIRECT_LABELS:
        _label_ends(axes)
    else:
        axes.legend(loc="lower right", fontsize="small")
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()


def _draw(axes: Axes, run: ComparedRun, against: Axis, index: int, name: str) -> None:
    colour = COLOURS[index % len(COLOURS)]
    style = ("-", "--", ":", "-.")[index // len(COLOURS) % 4]
    along = {step: step if against == "steps" else seconds / 60 for step, seconds, _ in run.curve}
    accuracies = [100 * accuracy for _, _, accuracy in run.curve]
    axes.plot(list(along.values()), accuracies, style, color=colour, marker="o", markersize=3, label=name)
    exported = run.checkpoint.exported
    if exported.validation is not None:
        x, y = along.get(exported.iteration, 0.0), 100 * exported.validation  # at 0: what the run started from
        axes.plot(x, y, "o", color=colour, fillstyle="none", markersize=10, label="_ring")


def _label_ends(axes: Axes) -> None:
    """Write each curve's name beside its end, moved apart where the ends lie close together."""
    lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    ends = [(float(x), float(y)) for x, y in (np.asarray(line.get_xydata())[-1] for line in lines)]
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap = 0.05 * (high - low)
    places = apart([y for _, y in ends], gap, high - gap / 2)
    for line, end, place in zip(lines, ends, places, strict=True):
        axes.annotate(
            str(line.get_label()),
            end,
            (1.02 * max(x for x, _ in ends), place),
            va="center",
            color=line.get_color(),
            arrowprops={"arrowstyle": "-", "color": line.get_color(), "linestyle": ":", "alpha": 0.5},
            annotation_clip=False,
        )


def _short(names: Sequence[str]) -> list[str]:
    """Folders without those that all of them lie in."""
    common = os.path.commonpath([Path(name).absolute().parent for name in names])
    return [os.path.relpath(Path(name).absolute(), common) for name in names]
