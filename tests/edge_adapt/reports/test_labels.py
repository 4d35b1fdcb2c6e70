"""The names at the ends of curves."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from edge_adapt.reports.labels import apart


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0.01, 0.2), st.floats(0.5, 1.5))
def test_labels_never_lie_on_one_another_and_keep_their_order(heights: list[float], gap: float, top: float) -> None:
    places = apart(heights, gap, top)
    assert all(above - below >= gap - 1e-9 for below, above in pairwise(sorted(places)))
    assert max(places) <= max(top, *heights)
    for height, place in zip(heights, places, strict=True):
        for other, place_of_other in zip(heights, places, strict=True):
            assert height >= other or place < place_of_other


def test_labels_far_from_each_other_stay_where_they_are() -> None:
    assert apart([0.9, 0.1, 0.5], 0.1, 1.0) == [0.9, 0.1, 0.5]
