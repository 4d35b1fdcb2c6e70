"""A function of ours in a fresh Python process: what kills a process kills that one, and what is fresh is measured there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edge_adapt.runtime import errors
from edge_adapt.runtime.errors import EdgeAdaptError


def python(code: str) -> list[str]:
    """The command of a Python that runs this code, and finds modules where this one does, not in the folder it is called in."""
    return [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {code}"]


def signal_name(number: int) -> str:
    """Such as SIGILL; some have a number alone."""
    return next((one.name for one in signal.Signals if one == number), f"signal {number}")


class DiedError(EdgeAdaptError):
    """The process ended before it answered.

    Attributes:
        signal: what killed it, such as `SIGILL`; empty where nothing did.
        how: it ended, in words.
    """

    def __init__(self, status: int, said: str) -> None:
        self.signal = signal_name(-status) if status < 0 else ""
        end = f"is killed by {self.signal}" if status < 0 else f"ends with status {status}"
        why = signal.strsignal(-status) if status < 0 else said
        self.how = f"Python in a process of its own {end}" + (f" ({why})" if why else "")
        super().__init__(f"{self.how}; `edge-adapt doctor` says more.")


@dataclass(frozen=True)
class Answer:
    """What the function returned, and how many seconds after the process was started."""

    value: Any
    seconds: float


def in_child(function: Callable[..., Any], *arguments: object) -> Answer:
    """Call a function of a module of ours in a process of its own.

    Args:
        function: takes and returns what JSON holds.
        arguments: its own.

    Raises:
        EdgeAdaptError: the function raises it.
        DiedError: the process dies.
    """
    name = f"{function.__module__}:{function.__name__}"
    command = [*python("from edge_adapt.runtime.child import main; main()"), name, json.dumps(arguments)]
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said) as process:
            assert process.stdout
            line = process.stdout.readline()
            seconds = time.perf_counter() - began
        if not line:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise DiedError(process.returncode, last.rstrip("."))
    outcome = json.loads(line)
    if "error" in outcome:
        raise getattr(errors, outcome["error"], EdgeAdaptError)(outcome["sentence"])
    return Answer(outcome["value"], seconds)


def main() -> None:
    """What the process runs; nothing else goes to its standard output, whatever a library prints."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, name = sys.argv[1].partition(":")
    try:
        outcome = {"value": getattr(import_module(module), name)(*json.loads(sys.argv[2]))}
    except EdgeAdaptError as error:
        outcome = {"error": type(error).__name__, "sentence": str(error)}
    print(json.dumps(outcome), file=answers, flush=True)
