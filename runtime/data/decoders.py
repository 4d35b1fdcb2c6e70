"""Processes that decode images: small ones take so little C code that threads wait for the interpreter's lock instead.

A process is started as `python -c`, not forked: a fork copies locks that other threads hold, and `multiprocessing` would run the
user's script once more in every process.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.child import python
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess


def decode(
    images: Sequence[tuple[str, str | bytes]], preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Images to pixels; each is a name for messages, and a path or the bytes of a file.

    Returns:
        uint8 [K, H, W, C], less the images that cannot be read; and the index of each of these -> the sentence that says why.
    """
    height, width = preprocessing.height, preprocessing.width
    pixels = np.empty((len(images), height, width, preprocessing.channels), np.uint8)
    faults: dict[int, str] = {}
    for index, (name, source) in enumerate(images):
        try:
            image = load_image(source, name, preprocessing.decoded_size).image
            pixels[index - len(faults)] = preprocess(image, preprocessing)
        except ImageError as error:
            faults[index] = str(error)
    return pixels[: len(images) - len(faults)], faults


class Decoders:
    """Some processes that `decode`, for several threads.

    Args:
        count: how many.
        preprocessing: see `decode`.
    """

    def __init__(self, count: int, preprocessing: Preprocessing) -> None:
        self._preprocessing = preprocessing
        self._processes: list[subprocess.Popen[bytes]] = []
        self._idle: queue.SimpleQueue[subprocess.Popen[bytes] | None] = queue.SimpleQueue()
        for _ in range(count):
            process = _start()
            if process is not None:
                self._processes.append(process)
            self._idle.put(process)

    def __enter__(self) -> Decoders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            assert process.stdin is not None and process.stdout is not None
            with suppress(OSError):  # it is gone already
                process.stdin.close()
            process.stdout.close()
            process.wait()

    def decode(self, images: Sequence[tuple[str, str | bytes]]) -> tuple[NDArray[np.uint8], dict[int, str]]:
        """`decode`, in a process that is idle; in this one, should that one have died."""
        process = self._idle.get()
        try:
            if process is not None:
                assert process.stdin is not None and process.stdout is not None
                pickle.dump((images, self._preprocessing), process.stdin)
                process.stdin.flush()
                pixels, faults = pickle.load(process.stdout)
                return pixels, faults
        except (OSError, EOFError, pickle.UnpicklingError):
            process = None
        finally:
            self._idle.put(process)
        return decode(images, self._preprocessing)


def _start() -> subprocess.Popen[bytes] | None:
    """A process that serves; None where Python cannot be started, as in a program frozen into one file."""
    if getattr(sys, "frozen", False) or not sys.executable:
        return None
    try:
        return subprocess.Popen(
            python("from edge_adapt.runtime.data.decoders import serve; serve()"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl+C is for the process that it works for, at whose end its input ends
        )
    except OSError:
        return None


def serve() -> None:
    """Decode what comes in on standard input until that ends."""
    import warnings

    warnings.filterwarnings("ignore", module=r"PIL\.")  # as the command line does
    with os.fdopen(os.dup(1), "wb") as out:
        sys.stdout = sys.stderr
        while True:
            try:
                images, preprocessing = pickle.load(sys.stdin.buffer)
            except EOFError:
                return
            pickle.dump(decode(images, preprocessing), out)
            out.flush()
