"""Work on several threads, with its results in order. Pillow and ONNX Runtime work without the interpreter's lock."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4
"""Items a thread that are under way, or done and not taken yet; this bounds the memory."""


def in_order(work: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """`map(work, items)` on so many threads.

    Neither the order of the results nor which error is raised, that of the first item that fails, depends on the threads'
    timing. An error, an interrupt, or a caller that takes no more drops what has not been started and waits for what has.
    One that is left in a circle of references is ended by whichever thread collects garbage, at any moment, and waits for
    nothing: that thread may hold the very locks that the others need to end.
    """
    from concurrent.futures import ThreadPoolExecutor  # a device that classifies one image starts sooner without

    pool, caller = ThreadPoolExecutor(threads, "edge-adapt"), threading.get_ident()
    under_way: deque[Future[Result]] = deque()
    try:
        for item in items:
            under_way.append(pool.submit(work, item))
            if len(under_way) >= AHEAD * threads:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        pool.shutdown(wait=threading.get_ident() == caller, cancel_futures=True)


def cores() -> int:
    """How many cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows
        return os.cpu_count() or 1
