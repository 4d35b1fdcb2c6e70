"""Ctrl-C and SIGTERM, heard at the end of an outer step, so that no step is lost."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from edge_adapt.runtime.progress import say
from edge_adapt.training import distributed


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether to stop. A second request is answered at once, as everything is outside of this.

    Of several processes only the first stops by itself: it writes, and the others end with it. SIGTERM says to them that another
    one has ended; see `edge_adapt.training.distributed`. A program that handles a signal in its own way goes on to do so.
    """
    asked = False
    signals = (signal.SIGINT,) if distributed.processes() > 1 else (signal.SIGINT, signal.SIGTERM)
    usual = (signal.default_int_handler, signal.SIG_DFL)
    # The main thread alone may handle signals.
    heard = (
        {number: signal.getsignal(number) for number in signals if signal.getsignal(number) in usual}
        if threading.current_thread() is threading.main_thread()
        else {}
    )

    def give_back() -> None:
        for number, handler in heard.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = distributed.is_first()
        give_back()
        say("", asked)  # behind the ^C
        say("stopping at the end of this step; once more stops at once", asked)

    for number in heard:
        signal.signal(number, ask)
    try:
        yield lambda: asked
    finally:
        give_back()
