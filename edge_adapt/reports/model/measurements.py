"""Everything that the page of a report shows, as data."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from edge_adapt.reports.model.about import About, Opened
from edge_adapt.reports.model.accuracy import (
    AccuracyTable,
    Step,
    StepsCurve,
    Subject,
    accuracy_table,
    steps_curve,
    steps_work,
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
    search_episodes,
    search_ways,
)
from edge_adapt.reports.model.timing import Timing, machine, time_model
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.progress import Progress


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that the page shows.

    Attributes:
        about: the model.
        data: what it was measured on.
        command: what to type to measure it again.
        date: of the measurement, UTC.
        episodes, seed: the arguments; figures of more than five ways are from fewer episodes, and say so.
        table, steps, reliabilities, confusions, examples, timings: what was measured; the examples have `example_shot` shots.
        runs_on, machine: what ran it.
        omitted: what was left out, each with the reason, as sentences.
    """

    about: About
    data: ImageDataset
    command: str
    date: str
    episodes: int
    seed: int
    table: AccuracyTable
    steps: StepsCurve
    reliabilities: tuple[Reliability, ...]
    confusions: Confusions
    examples: tuple[Example, ...]
    example_shot: int
    timings: tuple[Timing, ...]
    runs_on: str
    machine: str
    omitted: tuple[str, ...]


def measure(opened: Opened, subject: Subject, command: str, progress: bool = False) -> Report:
    """Everything that the page shows."""
    ways, shots, omitted = ways_and_shots(subject)
    if not shots:
        raise DataError(f"{subject.data.source}: there are no episodes, for {subject.why_not(2, 1)}; add images.")
    n_way = max(way for way in ways if way <= 5 and not subject.why_not(way, 1))
    few = [shot for shot in shots if shot in (1, 5) and not subject.why_not(n_way, shot)]
    total = sum(work(subject.episodes_of(way), way, shot) for way in ways for shot in shots)
    total += steps_work(subject, n_way, few) + sum(work(subject.episodes_of(n_way), n_way, shot) for shot in few)
    total += work(search_episodes(subject), search_ways(subject, few[-1]), few[-1])
    with Progress("evaluating", total, show=progress) as bar:
        done: Step = bar.advance
        table = accuracy_table(subject, ways, shots, done)
        steps = steps_curve(subject, n_way, few, done)
        reliabilities = []
        for shot in few:
            answers = list(subject.answers(n_way, shot, subject.episodes_of(n_way)))
            done(work(len(answers), n_way, shot))
            reliabilities.append(reliability(answers, n_way, shot))
        shown = examples(answers)
        confused = confusions(subject, few[-1], done)
    timings = time_model(subject, n_way, few[-1])
    return Report(
        about=opened.about,
        data=subject.data,
        command=command,
        date=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        episodes=subject.episodes,
        seed=subject.seed,
        table=table,
        steps=steps,
        reliabilities=tuple(reliabilities),
        confusions=confused,
        examples=shown,
        example_shot=few[-1],
        timings=timings,
        runs_on=opened.runs_on(),
        machine=machine(),
        omitted=(*omitted, *table.omitted),
    )
