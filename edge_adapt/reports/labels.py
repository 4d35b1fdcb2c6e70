"""Where the names of curves stand at their ends, without lying on one another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Heights in the same order of size, `gap` or more from each other, of which the highest moves up to `top` at most."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    places = list(heights)
    for below, above in pairwise(order):
        places[above] = max(places[above], places[below] + gap)
    limit = max(top, *heights)
    for index in reversed(order):
        places[index] = min(places[index], limit)
        limit = places[index] - gap
    return places
