"""How much memory decoding may take: one budget for all threads of the process.

A small file may claim pixels that fill a device. What an image needs is told by its header, and it waits until that much of the
budget is free; what needs more than all of it is refused before it is decoded.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edge_adapt.runtime.errors import EdgeAdaptError, ImageError
from edge_adapt.runtime.words import size

BUDGET_VARIABLE = "EDGE_ADAPT_IMAGE_MEMORY"
"""The environment variable that sets the budget, in MiB: it belongs to a machine, and reaches processes that are started."""

MOST_BY_DEFAULT = 368 * 1024 * 1024
"""Enough for a WebP of 24 million pixels, the costliest format, and with a process around it no more than 512 MB."""

_SHARE_OF_MACHINE = 4  # a quarter of its memory, where that is less

_free_again = threading.Condition()
_taken: list[int] = []  # by each image that is being decoded
_kept = 0  # by the C library, at most: what was freed since it last gave back what it keeps


def budget() -> int:
    """Bytes that all images being decoded may take together.

    Raises:
        EdgeAdaptError: the environment variable is not a number of MiB.
    """
    given = os.environ.get(BUDGET_VARIABLE, "")
    if not given:
        return min(MOST_BY_DEFAULT, _machine_memory() // _SHARE_OF_MACHINE)
    if not (given.isascii() and given.isdecimal() and int(given[:9]) > 0 and len(given) < 9):
        raise EdgeAdaptError(f"{BUDGET_VARIABLE} is {given[:40]!r}; set it to a number of MiB, such as 368.")
    return int(given) * 1024 * 1024


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return MOST_BY_DEFAULT * _SHARE_OF_MACHINE


def _free_all() -> None:
    """In a process that was forked, which has none of the threads that held something."""
    global _free_again  # noqa: PLW0603
    _free_again = threading.Condition()
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)


@contextmanager
def room(needed: int, name: str) -> Iterator[None]:
    """Wait until so many bytes of the budget are free, and hold them. One image at a time in a thread.

    Raises:
        ImageError: the image that messages call `name` needs more than the whole budget.
    """
    most = budget()
    if needed > most:
        raise ImageError(
            f"{name} takes {size(needed)} of memory to decode, and images are given {size(most)} here: scale it down, or set "
            f"{BUDGET_VARIABLE}, in MiB, to {(needed >> 20) + 1} or more."
        )
    global _kept  # noqa: PLW0603
    with _free_again:
        _free_again.wait_for(lambda: sum(_taken) + needed <= most)
        if _kept + sum(_taken) + needed > most:
            give_back()
            _kept = 0
        _taken.append(needed)
    try:
        yield
    finally:
        with _free_again:
            _taken.remove(needed)
            _kept += needed
            _free_again.notify_all()


def give_back() -> None:
    """Return to the system what glibc keeps of freed memory, in the arena of each thread; other C libraries keep little."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
