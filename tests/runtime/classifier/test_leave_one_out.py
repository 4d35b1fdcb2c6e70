"""The leave-one-out estimate, against adapting anew without each shot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.classifier import leave_one_out as leave_one_out_module
from edge_adapt.runtime.classifier.leave_one_out import folds
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import MetaModel
from tests.tiny_model import photos


@pytest.mark.parametrize("seed", range(4))
def test_leave_one_out_is_adapting_without_each_shot_in_turn(tiny: MetaModel, seed: int) -> None:
    support = photos({"a": 1, "b": 4, "c": 3, "d": 5}, seed, noise=120)
    right, tried = 0, 0
    for label, images in support.items():
        if len(images) == 1:
            continue
        for left_out in range(len(images)):
            rest = {**support, label: [image for index, image in enumerate(images) if index != left_out]}
            right += tiny.adapt(rest).classify(images[left_out]).label == label
            tried += 1
    estimate = tiny.adapt(support).adapted.leave_one_out
    assert estimate == right / tried
    assert 0 < right < tried  # a set on which the estimate could be wrong


def test_there_is_no_estimate_where_every_class_has_one_shot(tiny: MetaModel) -> None:
    assert tiny.adapt(photos({"a": 1, "b": 1})).adapted.leave_one_out is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30))
def test_folds_are_spread_over_all_shots_that_can_be_spared(shots: list[int], most: int) -> None:
    labels = np.repeat(np.arange(len(shots)), shots)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leave_one_out_module, "MAX_FOLDS", most)
        found = folds(labels).tolist()
    candidates = [index for index, label in enumerate(labels) if shots[label] > 1]
    assert len(found) <= most
    assert found == (candidates[:: candidates.index(found[1])] if len(found) > 1 else candidates[:1])
    if len(candidates) <= most:
        assert found == candidates
    assert 2 * len(found) >= min(most, len(candidates))


def test_a_large_support_set_is_estimated_from_some_of_its_shots(
    tiny: MetaModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    adapt = Graphs.adapt

    def count(self: Graphs, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return adapt(self, *arguments)

    monkeypatch.setattr(Graphs, "adapt", count)
    monkeypatch.setattr(leave_one_out_module, "MAX_FOLDS", 5)
    adapted = tiny.adapt(photos({"a": 6, "b": 7})).adapted
    assert calls == 1 + 5 and adapted.leave_one_out is not None
