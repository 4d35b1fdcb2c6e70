"""What tests have done in a process of its own, and what stands in for `in_child` where that is not what is tested."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_adapt.runtime.bench import peak_memory
from edge_adapt.runtime.child import Answer
from edge_adapt.runtime.errors import DataError, ProviderError


def in_this_process(function: Callable[..., Any], *arguments: object) -> Answer:
    """As `edge_adapt.runtime.child.in_child`, without what a new process takes."""
    return Answer(function(*arguments), seconds=1.0)


def add(one: int, other: int) -> dict[str, int]:
    """Say so, in Python and beside it, and add."""
    print("I add")
    os.write(1, b"as a library in C prints\n")
    return {"sum": one + other}


def refuse(what: str) -> None:
    """Raise an error of ours."""
    raise ProviderError(f"there is no {what}.")


def die(name: str) -> None:
    """Be killed by a signal."""
    os.kill(os.getpid(), signal.Signals[name])


def leave() -> None:
    """End without an answer."""
    print("so long.", file=sys.stderr)
    raise SystemExit(3)


def crash() -> None:
    """Raise an error of nobody's."""
    raise ZeroDivisionError("one by zero")


def folder() -> str:
    """The working directory."""
    return str(Path.cwd())


def memory_with(mebibytes: int) -> int | None:
    """The peak after so much was held and let go."""
    held = b"\1" * (mebibytes * 2**20)
    del held
    return peak_memory()


class RudeError(DataError):
    """Says what it is given as it is."""

    __str__ = Exception.__str__


def harm(file: Path) -> str:
    """Do what the file says."""
    what = file.read_text(encoding="ascii")
    if what == "die":
        die("SIGKILL")
    if what == "hold":
        return str(memory_with(400))
    if what == "raise":
        crash()
    raise RudeError({"say": "\x1b[31m is red.", "prattle": "x" * 501, "refuse": "no."}[what])
