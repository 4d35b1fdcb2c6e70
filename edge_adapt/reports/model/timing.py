"""How long a model takes on this machine, as data: embed, adapt and predict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_adapt.reports.model.accuracy import Subject
from edge_adapt.runtime.timing import seconds_of_calls


@dataclass(frozen=True)
class Timing:
    """Seconds that a call takes on the clock: the median of `calls`, and the 10th and the 90th percentile."""

    what: str
    median: float
    low: float
    high: float
    calls: int


def time_calls(what: str, call: Callable[[], object]) -> Timing:
    """Time calls one after another."""
    seconds = seconds_of_calls(call)
    low, median, high = np.quantile(seconds, (0.1, 0.5, 0.9))
    return Timing(what, float(median), float(low), float(high), len(seconds))


def time_model(subject: Subject, n_way: int, n_shot: int) -> tuple[Timing, ...]:
    """The model's functions as a device calls them: one photo, 25 of them (one look at each), adapting, and asking once."""
    model = subject.model
    some = np.resize(np.arange(len(subject.data.images)), 25)
    images = np.ascontiguousarray(subject.data.images[some])
    (answers,) = subject.answers(n_way, n_shot, 1)
    support, labels = subject.features.shots[answers.episode.support], answers.episode.support_labels
    query = subject.features.queries[answers.episode.query][:1]
    steps = subject.card.default_steps
    state, _ = model.adapt(support, labels, n_way, steps)
    with_steps = f", {steps} steps" if steps else ""
    return (
        time_calls("embed, 1 image", lambda: model.embed(images[:1])),
        time_calls("embed, 25 images", lambda: model.embed(images)),
        time_calls(f"adapt, {n_way}-way {n_shot}-shot{with_steps}", lambda: model.adapt(support, labels, n_way, steps)),
        time_calls(f"predict, 1 image, {n_way}-way", lambda: model.predict(query, state)),
    )
