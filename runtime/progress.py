"""Progress of long work on standard error: tqdm's bar on a terminal, a line with its figures now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from edge_adapt.runtime.words import shown

_MOMENT_SECONDS = 0.5
"""Work that takes no longer shows nothing: a bar would flash by, and an `adapt` would take a tenth longer to import tqdm."""

_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 30.0


class Progress:
    """Shows how far a piece of work has come, once it has taken a moment.

    Args:
        label: what is being done, in the present participle.
        total: the amount of work, in `unit`s.
        unit: the word behind the rate ("images"); empty shows no rate.
        show: False keeps silent.
        done: work that an earlier, interrupted run has done.
    """

    def __init__(self, label: str, total: float, unit: str = "", show: bool = True, done: float = 0) -> None:
        self._label, self._total, self._unit, self._done = shown(label), total, unit, done
        self._show = (
            show and sys.stderr is not None
        )  # None where a program has no console or was started with it closed
        self._began, self._early = time.monotonic(), 0.0
        self._bar: Any = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count `amount` more as done; `note` follows the figures."""
        if self._bar is None:
            self._early += amount
            seconds = time.monotonic() - self._began
            if not self._show or seconds < _MOMENT_SECONDS:
                return
            self._bar = self._begin()
            self._bar.start_t -= seconds
            amount = self._early
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(amount)

    def say(self, line: str) -> None:
        """Print a line of its own, whether the bar is shown or not."""
        if self._bar is not None:
            self._bar.clear()
        say(line)

    def _begin(self) -> Any:
        from tqdm import tqdm

        terminal = sys.stderr.isatty()
        rate = ", {rate_fmt}" if self._unit else ""
        return tqdm(
            desc=self._label,
            total=self._total,
            initial=self._done,
            unit=self._unit,
            file=sys.stderr if terminal else _Lines(),
            dynamic_ncols=terminal,
            bar_format=("{l_bar}{bar}|" if terminal else "{desc}: {percentage:3.0f}%")
            + f" [{{elapsed}}<{{remaining}}{rate}{{postfix}}]",
            mininterval=_REDRAW_SECONDS if terminal else _LINE_SECONDS,
            miniters=0,  # work is counted in amounts of any size
        )


class _Lines:
    """What a bar is written to where there is no terminal: each of its states becomes a line."""

    def write(self, text: str) -> None:
        """Print a state; not what returns to the beginning of the line or erases the state before."""
        say(text.strip(), bool(text.strip()))

    def flush(self) -> None:
        """Nothing is left to write."""


def say(line: str, show: bool = True) -> None:
    """Print a line on standard error, where there is one."""
    if show and sys.stderr is not None:
        print(shown(line), file=sys.stderr, flush=True)
