"""The parent's side: a child that runs the graphs of one bundle, and is killed when it takes too long."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from edge_adapt.runtime.child import python, signal_name
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError, MissingDependencyError
from edge_adapt.runtime.sandbox.frames import FrameError, read_frame, write_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WHOSE = "a process for a bundle of unknown origin"
_START = 60.0
"""Seconds that the libraries may take to load, on the slowest card."""


@dataclass(frozen=True)
class Limits:
    """What the graphs of a stranger may take.

    Attributes:
        seconds: that one call may take, the making of a session among them.
        memory: bytes of address space that may come to those of the libraries; four times the graph is added to it.
        answer: bytes that the outputs of one call may have.
    """

    seconds: float = 4.0
    memory: int = 192 * 1024**2
    answer: int = 32 * 1024**2


class Child:
    """A process of one bundle, which computes on one thread.

    Args:
        size: bytes of the bundle's graphs together.
        limits: of what runs in it.

    Raises:
        EdgeAdaptError: it does not start, or has no ONNX Runtime.
    """

    def __init__(self, size: int, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        serve = f"serve({limits.memory + 4 * size}, {limits.seconds + 1})"
        if getattr(sys, "frozen", False) or not sys.executable:
            raise EdgeAdaptError(f"{_WHOSE} cannot be started from a program that is frozen into one file.")
        try:
            self._process = subprocess.Popen(
                python(f"from edge_adapt.runtime.sandbox.child import serve; {serve}"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl+C is for the process that it works for, at whose end its input ends
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # no thread is there before it is confined
            )
        except OSError as error:
            raise EdgeAdaptError(f"{_WHOSE} cannot be started ({error}).") from error
        self._end = weakref.finalize(self, _end, self._process)
        self.confined = tuple(map(str, _list(self._exchange(None, (), _WHOSE, _START)[0], "confined")))
        """What is in force there, of `limits`, `landlock` and `seccomp`."""

    def session(self, graph: bytes, name: str, inputs: Sequence[str]) -> ChildSession:
        """A session of a graph; arguments and errors are those of `edge_adapt.runtime.sessions.Session`."""
        header, _ = self.ask({"name": name, "inputs": list(inputs)}, [np.frombuffer(graph, np.uint8)])
        outputs, index = {}, header.get("session")
        for entry in _list(header, "outputs"):
            output, shape = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
            if not isinstance(output, str) or not isinstance(shape, list):
                raise BundleError(f"{name} was answered with nonsense; do without this file.")
            outputs[output] = tuple(side if isinstance(side, (int, str)) else None for side in shape)
        return ChildSession(self, index if isinstance(index, int) else -1, name, outputs)

    def ask(
        self, question: dict[str, Any], arrays: Sequence[NDArray[Any]]
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Ask, and wait for the answer.

        Raises:
            BundleError: it is an error, or the child dies of the question, or takes too long to answer.
        """
        return self._exchange(question, arrays, question["name"], self._limits.seconds)

    def _exchange(
        self, question: dict[str, Any] | None, arrays: Sequence[NDArray[Any]], name: str, seconds: float
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """One question, or none, and one answer. Whatever comes between ends the child: its next answer would be to this."""
        with self._lock:
            timer = threading.Timer(seconds, self._process.kill)
            timer.daemon = True
            timer.start()
            try:
                if question is not None:
                    with suppress(OSError, ValueError):  # it has ended; reading says how
                        write_frame(_stream(self._process.stdin), question, arrays)
                header, answers = read_frame(_stream(self._process.stdout), self._limits.answer)
            except (EOFError, FrameError, OSError, ValueError) as error:
                timed_out = not timer.is_alive()
                self._end()
                raise BundleError(f"{name} {self._death(error, seconds, timed_out)}; do without this file.") from error
            except BaseException:
                self._end()
                raise
            finally:
                timer.cancel()
        if "error" in header:
            kind = MissingDependencyError if header.get("kind") == MissingDependencyError.__name__ else BundleError
            raise kind(str(header["error"]))
        return header, answers

    def _death(self, error: Exception, seconds: float, timed_out: bool) -> str:
        status = self._process.returncode
        killed_by = signal_name(-status) if status is not None and status < 0 else ""
        if timed_out or killed_by == "SIGALRM":
            return f"took longer than {seconds:g} s and was stopped"
        if killed_by not in ("", "SIGKILL"):
            return f"killed the process that it ran in ({killed_by})"
        if isinstance(error, FrameError):
            return f"gives more than it may ({error})"
        return f"ended the process that it ran in (status {status})"


@dataclass(frozen=True, eq=False)
class ChildSession:
    """A session in a child, as `edge_adapt.runtime.sessions.Session` is one here.

    Attributes:
        child: the process.
        index: of the session there.
        name: what messages call it.
        outputs: see there.
    """

    child: Child
    index: int
    name: str
    outputs: dict[str, tuple[int | str | None, ...]]
    provider: str = "CPUExecutionProvider"

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """All outputs, in the graph's order; raises BundleError."""
        question = {"name": self.name, "session": self.index, "feeds": list(feeds)}
        outputs = self.child.ask(question, list(feeds.values()))[1]
        if len(outputs) != len(self.outputs):
            raise BundleError(f"{self.name} gives {len(outputs)} outputs where it declares {len(self.outputs)}.")
        return outputs


def _stream(stream: IO[bytes] | None) -> BinaryIO:
    assert stream is not None
    return cast("BinaryIO", stream)


def _list(header: Mapping[str, Any], key: str) -> list[Any]:
    value = header.get(key)
    return value if isinstance(value, list) else []


def _end(process: subprocess.Popen[bytes]) -> None:
    """Whatever it is doing."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):  # what it did not read
            _stream(stream).close()
