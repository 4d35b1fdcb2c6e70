"""The child: it makes sessions and runs them, and answers each question with arrays or a sentence."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.sandbox.confinement import confine
from edge_adapt.runtime.sandbox.frames import FrameError, read_frame, write_frame
from edge_adapt.runtime.sessions import Session, available

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_QUESTION = 2**31
"""Bytes of a graph and of what it is fed; the parent, which asks, is not the one to be afraid of."""


def serve(memory: int, seconds: float) -> None:
    """Answer questions on standard input, on standard output, until they end.

    Args:
        memory: bytes of address space beyond what the libraries take.
        seconds: that an answer may take: a clock of its own, should the process that asks be gone.
    """
    answers = os.fdopen(os.dup(1), "wb")
    questions = sys.stdin.buffer
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # what libraries print is nothing that a stranger should have a say in
        os.dup2(nowhere, stream)
    try:
        available()
    except EdgeAdaptError as error:
        write_frame(answers, _fault(error))
        return
    write_frame(answers, {"confined": confine(memory)})
    sessions: list[Session] = []
    while True:
        try:
            question, arrays = read_frame(questions, MAX_QUESTION)
        except EOFError:
            return
        try:
            _alarm(seconds)
            header, outputs = _answer(question, arrays, sessions)
            write_frame(answers, header, outputs)
        except EdgeAdaptError as error:
            write_frame(answers, _fault(error))
        except FrameError as error:
            write_frame(answers, _fault(BundleError(f"{question['name']}: {error}.")))
        except MemoryError:
            write_frame(answers, _fault(BundleError(f"{question['name']} takes more memory than it may.")))
        finally:
            _alarm(0)


def _answer(
    question: dict[str, Any], arrays: list[NDArray[Any]], sessions: list[Session]
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    if "session" in question:
        return {}, sessions[question["session"]].run(dict(zip(question["feeds"], arrays, strict=True)))
    session = Session(arrays[0].tobytes(), question["name"], question["inputs"], "cpu", threads=1)
    sessions.append(session)
    return {"session": len(sessions) - 1, "outputs": list(session.outputs.items())}, []


def _alarm(seconds: float) -> None:
    """End this process in so many seconds, whatever it is doing; not on Windows, which has no such clock."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _fault(error: EdgeAdaptError) -> dict[str, Any]:
    return {"error": str(error)[:2000], "kind": type(error).__name__}
