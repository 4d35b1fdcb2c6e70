"""The leave-one-out estimate, against adapting anew without each shot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut, folds, leave_one_out
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
    estimate = tiny.adapt(support).adaptation.leave_one_out
    assert estimate == right / tried
    assert 0 < right < tried  # a set on which the estimate could be wrong


def test_there_is_no_estimate_where_every_class_has_one_shot(tiny: MetaModel) -> None:
    assert tiny.adapt(photos({"a": 1, "b": 1})).adaptation.leave_one_out is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 30))
def test_folds_are_spread_over_all_shots_that_can_be_spared(shots: list[int], most: int) -> None:
    labels = np.repeat(np.arange(len(shots)), shots)
    found = folds(labels, most).tolist()
    candidates = [index for index, label in enumerate(labels) if shots[label] > 1]
    assert len(found) <= most
    assert found == (candidates[:: candidates.index(found[1])] if len(found) > 1 else candidates[:1])
    if len(candidates) <= most:
        assert found == candidates
    assert 2 * len(found) >= min(most, len(candidates))


def test_a_large_support_set_is_estimated_from_some_of_its_shots(tiny: MetaModel) -> None:
    support = tiny.adapt(photos({"a": 6, "b": 7})).support
    found = leave_one_out(tiny.graphs, support.features, support.targets, 2, 3, most=5)
    every = leave_one_out(tiny.graphs, support.features, support.targets, 2, 3)
    assert found.folds.tolist() == [0, 3, 6, 9, 12] and len(every.folds) == 13
    np.testing.assert_array_equal(found.logits, every.logits[found.folds])
    np.testing.assert_array_equal(found.labels, support.targets[found.folds])


def test_what_a_model_says_of_shots_left_out_is_its_softmax() -> None:
    logits = np.array([[1, 2, 0], [900, -900, 0], [0, 0, 0]], np.float32)
    found = LeaveOneOut(np.arange(3), np.array([1, 1, 0]), logits)
    assert found.right.tolist() == [True, False, True] and found.accuracy == 2 / 3
    expected = 2 - np.log(np.exp([1, 2, 0]).sum()), -1800, -np.log(3)
    np.testing.assert_allclose(found.log_probabilities, expected)
