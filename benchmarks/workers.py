"""Training steps that are timed in turn, each candidate in a process of its own: one tells the C library how to keep memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def take_orders(step: Callable[[], None], how: str, device: torch.device) -> None:
    """Be a worker: say how it is done, then take a step for each line of standard input, and print the seconds it took."""
    for _ in range(3):
        step()
    print(how, flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - began, flush=True)


@contextmanager
def worker(name: str, *options: str) -> Iterator[tuple[Callable[[], float], str]]:
    """This script as `--worker NAME`, with its own arguments and more: a step that gives its seconds, and how it is done."""
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
