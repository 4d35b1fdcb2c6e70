"""Everything that the page of a report shows, as data."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from edge_adapt.evaluation import OpenedModel
from edge_adapt.reports.model.accuracy import (
    AccuracyTable,
    Step,
    StepsCurve,
    Subject,
    accuracy_table,
    step_counts,
    steps_curve,
    ways_and_shots,
    work,
)
from edge_adapt.reports.model.mistakes import (
    Confusions,
    Example,
    Reliability,
    confusions,
    examples,
    reliability,
    search_protocol,
)
from edge_adapt.reports.model.timing import Timing, time_model
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import Sampling
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.progress import Progress
from edge_adapt.runtime.timing import machine


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page shows.

    Attributes:
        model: what was measured.
        data: what it was measured on.
        command: what to type to measure it again.
        date: of the measurement, UTC.
        sampling: how episodes were drawn; figures of more than five ways are from fewer, and say so.
        table, steps, reliabilities, confusions, examples, timings: what was measured; the examples have `example_shot` shots.
        machine: what ran it.
        omitted: what was left out, each with the reason, as sentences.
    """

    model: OpenedModel
    data: ImageDataset
    command: str
    date: str
    sampling: Sampling
    table: AccuracyTable
    steps: StepsCurve
    reliabilities: tuple[Reliability, ...]
    confusions: Confusions
    examples: tuple[Example, ...]
    example_shot: int
    timings: tuple[Timing, ...]
    machine: str
    omitted: tuple[str, ...]


def measure(opened: OpenedModel, subject: Subject, command: str, progress: bool = False) -> Report:
    """Everything that the page shows."""
    ways, shots, omitted = ways_and_shots(subject)
    if not shots:
        raise DataError(f"{subject.data.source}: there are no episodes, for {subject.why_not(2, 1)}; add images.")
    n_way = max(way for way in ways if way <= 5 and not subject.why_not(way, 1))
    few = [shot for shot in shots if shot in (1, 5) and not subject.why_not(n_way, shot)]
    planned = [subject.protocol(way, shot) for way in ways for shot in shots]
    planned += [subject.protocol(n_way, shot, steps=count) for shot in few for count in step_counts(subject)]
    planned += [*(subject.protocol(n_way, shot) for shot in few), search_protocol(subject, few[-1])]
    with Progress("evaluating", sum(map(work, planned)), show=progress) as bar:
        done: Step = bar.advance
        table = accuracy_table(subject, ways, shots, done)
        steps = steps_curve(subject, n_way, few, done)
        reliabilities = []
        for shot in few:
            answers = list(subject.answers(n_way, shot))
            done(work(subject.protocol(n_way, shot)))
            reliabilities.append(reliability(answers, n_way, shot))
        shown = examples(answers)
        confused = confusions(subject, few[-1], done)
    timings = time_model(subject, n_way, few[-1])
    return Report(
        model=opened,
        data=subject.data,
        command=command,
        date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        sampling=subject.sampling,
        table=table,
        steps=steps,
        reliabilities=tuple(reliabilities),
        confusions=confused,
        examples=shown,
        example_shot=few[-1],
        timings=timings,
        machine=machine(),
        omitted=(*omitted, *table.omitted),
    )
