"""What the benchmarks share: calls timed in turn, ratios of neighbours, and a line about the machine.

A machine is never quiet for long. Candidates are therefore timed one after another in every round, and what is reported of two of
them is the median over the rounds of their ratio, with the range that the middle 80% of the rounds lie in.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles

from edge_adapt.runtime.timing import machine as this_machine

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True)
class Ratio:
    """How many times one thing takes of another: the median over the rounds, and the 10th and the 90th percentile."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio(ones: Sequence[float], others: Sequence[float]) -> Ratio:
    """Of measurements in the same rounds, two rounds or more."""
    ratios = [one / other for one, other in zip(ones, others, strict=True)]
    deciles = quantiles(ratios, n=10, method="inclusive")
    return Ratio(median(ratios), deciles[0], deciles[-1])


def time_in_turn(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int,
    calls: int = 1,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds of processor time that a call of each candidate takes in each round, by name.

    For what runs on one thread: it is the time on the clock, less what other programs take in between.

    Args:
        candidates: what to call; in every other round in the opposite order. A round that does not count goes before.
        rounds: how often each has its turn.
        calls: of a candidate in one turn; for calls so short that those of its neighbours would cool the caches for it.
        clock: `time.perf_counter` for what runs on several threads.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    order = list(candidates.items())
    for number in range(rounds + 1):
        for name, call in order:
            began = clock()
            for _ in range(calls):
                call()
            took = clock() - began
            if number > 0:
                seconds[name].append(took / calls)
        order.reverse()
    return seconds


def take_orders(step: Callable[[], object], how: str, finish: Callable[[], object] = lambda: None) -> None:
    """Be a worker: say how it is done, then take a step for each line of standard input, and print the seconds it took.

    Args:
        step: what is timed; three that do not count go before.
        how: it is done, in words.
        finish: waits until a step is over, where `step` returns earlier.
    """
    for _ in range(3):
        step()
    print(how, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        finish()
        print(time.perf_counter() - began, flush=True)


@contextmanager
def worker(name: str, *options: str) -> Iterator[tuple[Callable[[], float], str]]:
    """This script as `--worker NAME`, with its own arguments and more: a step that gives its seconds, and how it is done.

    For training steps: a candidate that tells the C library how to keep memory must not tell it to the others.
    """
    command = [sys.executable, sys.argv[0], *sys.argv[1:], "--worker", name, *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        lines, orders = process.stdout, process.stdin

        def step() -> float:
            orders.write("\n")
            orders.flush()
            return float(lines.readline())

        yield step, lines.readline().strip()
        orders.close()


def with_one_thread() -> None:
    """Start this script anew with one thread for NumPy's linear algebra, which reads that when it is imported."""
    if any(os.environ.get(name) != "1" for name in _THREADS):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(_THREADS, "1"))


def machine(*packages: str) -> str:
    """One line: processor, cores, Python, and the versions of the given distributions."""
    return ", ".join([this_machine(), *(f"{name} {_version(name)}" for name in packages)])


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, its columns aligned."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
