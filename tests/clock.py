"""Time for tests in which it is to pass at once."""

from __future__ import annotations


class Clock:
    """A second passes whenever someone looks."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds
