"""Answers that agree, of a stream of them: one frame in which a hand is in the way says nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass
class Vote:
    """Says a label when enough of the last answers agree on it, and only when it is another than was said before.

    Attributes:
        agreeing: how many have to agree, the last one among them; 1 or more.
        among: of so many last answers; `agreeing` or more.
    """

    agreeing: int
    among: int
    _last: deque[str] = field(init=False, repr=False)
    _said: str | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._last = deque(maxlen=self.among)

    def changes(self, label: str) -> bool:
        """Whether `label`, the newest answer, is now to be said."""
        self._last.append(label)
        if label == self._said or self._last.count(label) < self.agreeing:
            return False
        self._said = label
        return True
