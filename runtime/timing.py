"""How long calls take on this machine, and which machine it is."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

SECONDS, LEAST, MOST = 1.0, 5, 200
"""A measurement ends after MOST calls, or after SECONDS and LEAST calls."""


def seconds_of_calls(call: Callable[[], object], seconds: float = SECONDS, least: int = LEAST) -> list[float]:
    """Time calls on the clock one after another; a first one, which may load or allocate, does not count."""
    call()
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < MOST and (len(taken) < least or time.perf_counter() - began < seconds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def machine() -> str:
    """Processor, cores and system, in words."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def processor() -> str:
    """The name of the processor or the board; Linux does not give it to `platform`, and ARM boards have it elsewhere."""
    for key in ("model name", "Model"):
        for line in _text("/proc/cpuinfo").splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return _text("/proc/device-tree/model").strip("\0\n") or platform.processor() or platform.machine()


def _text(path: str) -> str:
    """Empty where there is no such file."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
