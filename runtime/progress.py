"""Progress of long work on standard error: a bar with rate and time left on a terminal, plain lines now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

_BAR = 24
_REDRAW_SECONDS = 0.1
_LINE_SECONDS = 30.0


class Progress:
    """Shows how far a piece of work has come.

    Args:
        label: what is being done, in the present participle.
        total: the amount of work, in `unit`s.
        unit: the word behind the rate ("images"); empty shows no rate.
        show: False keeps silent.
        done: work that an earlier, interrupted run has done.
    """

    def __init__(self, label: str, total: float, unit: str = "", show: bool = True, done: float = 0) -> None:
        show = show and sys.stderr is not None  # None where a program has no console or was started with it closed
        self._label, self._total, self._unit, self._show = label, total, unit, show
        self._done = self._start = done
        self._began = self._drawn = time.monotonic()
        self._line = ""
        self._terminal = show and sys.stderr.isatty()

    def __enter__(self) -> Progress:
        if self._show and not self._terminal:
            self._print_line()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._show:
            return
        if self._terminal:
            self._draw()
            print(file=sys.stderr)
        elif kind is None:
            self._print_line()

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Count `amount` more as done; `note` follows the figures."""
        self._done += amount
        now = time.monotonic()
        if not self._show or now - self._drawn < (_REDRAW_SECONDS if self._terminal else _LINE_SECONDS):
            return
        self._drawn = now
        if self._terminal:
            self._draw(note)
        else:
            self._print_line(note)

    def say(self, line: str) -> None:
        """Print a line of its own, whether the bar is shown or not."""
        say("\r\x1b[K" * self._terminal + line)

    def _figures(self, note: str) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        rate = (self._done - self._start) / seconds
        parts = [f"{100 * min(1.0, self._done / self._total) if self._total else 100:3.0f}%"]
        if self._unit and rate:
            parts.append(f"{rate:.3g} {self._unit}/s" if rate < 1000 else f"{rate:,.0f} {self._unit}/s")
        if rate and self._done < self._total:
            parts.append(f"{_clock((self._total - self._done) / rate)} left")
        elif self._done >= self._total:
            parts.append(f"in {_clock(seconds)}")
        return "  ".join([*parts, note] if note else parts)

    def _draw(self, note: str = "") -> None:
        filled = int(_BAR * min(1.0, self._done / self._total)) if self._total else _BAR
        bar = "#" * filled + "-" * (_BAR - filled)
        # Erasing to the end of the line removes what a longer line left behind.
        print(f"\r{self._label} [{bar}] {self._figures(note)}\x1b[K", end="", file=sys.stderr, flush=True)

    def _print_line(self, note: str = "") -> None:
        line = f"{self._label}: {self._figures(note)}"
        if line != self._line:
            self._line = line
            print(line, file=sys.stderr, flush=True)


def say(line: str, show: bool = True) -> None:
    """Print a line on standard error, where there is one."""
    if show and sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
