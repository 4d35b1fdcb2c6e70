"""How long a model takes on this machine, as data: embed, adapt and predict, and what ran them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_adapt.reports.model.accuracy import Subject

SECONDS, LEAST, MOST = 1.0, 5, 200
"""A measurement ends after MOST calls, or after SECONDS and LEAST calls."""


@dataclass(frozen=True)
class Timing:
    """Seconds that a call takes on the clock: the median of `calls`, and the 10th and the 90th percentile."""

    what: str
    median: float
    low: float
    high: float
    calls: int


def time_calls(what: str, call: Callable[[], object]) -> Timing:
    """Time calls one after another; a first one, which may load or allocate, does not count."""
    call()
    seconds: list[float] = []
    began = time.perf_counter()
    while len(seconds) < MOST and (len(seconds) < LEAST or time.perf_counter() - began < SECONDS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
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


def machine() -> str:
    """Processor, cores and system, in words."""
    return f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    """The processor's name; Linux does not give it to `platform`, and ARM boards have it elsewhere."""
    for source, key in (("/proc/cpuinfo", "model name"), ("/proc/cpuinfo", "Model")):
        try:
            lines = Path(source).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            break
        for line in lines:
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
