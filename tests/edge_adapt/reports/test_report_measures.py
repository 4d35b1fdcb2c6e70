"""The figures of a report against the same counted by hand, one query after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_adapt.reports.model import accuracy as measure
from edge_adapt.reports.model import mistakes
from edge_adapt.reports.model.accuracy import Answers, Subject
from edge_adapt.reports.model.timing import time_calls
from edge_adapt.runtime.bundle.card import ModelCard
from edge_adapt.runtime.classifier.estimate import wilson_interval
from edge_adapt.runtime.contract import HeadState
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import Episode, EvaluationProtocol, Sampling
from edge_adapt.runtime.evaluation import embed_dataset, evaluate_episodes
from edge_adapt.runtime.images.preprocessing import Preprocessing


class Nearest:
    """Takes a query for the class whose support mean is nearest; a feature is one number an image."""

    def __init__(self, has_steps: bool = True) -> None:
        self.has_steps = has_steps

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The only pixel, [B, 1]."""
        return images.reshape(-1, 1).astype(np.float32)

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """The means, and a loss a step where there are any."""
        means = np.array([features[labels == label].mean() for label in range(n_way)])
        return {"means": means}, np.zeros(steps if self.has_steps else 0, np.float32)

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """Minus the distance."""
        return -np.abs(features - state["means"]).astype(np.float32)


def data_of(pixels: Sequence[Sequence[int]]) -> ImageDataset:
    """One class for each row, one image for each number."""
    images = np.array([value for row in pixels for value in row], np.uint8).reshape(-1, 1, 1, 1)
    starts = np.cumsum([0, *map(len, pixels)], dtype=np.int64)
    names = tuple(f"class {index}" for index in range(len(pixels)))
    return ImageDataset("drawn", images, names, starts)


def noisy(classes: int, per_class: int, spread: float = 6) -> ImageDataset:
    """Classes ten apart, some of whose images lie nearer to another."""
    random = np.random.default_rng(3)
    return data_of(
        [[int(value) for value in 20 + 10 * c + random.normal(0, spread, per_class)] for c in range(classes)]
    )


def subject_of(data: ImageDataset, model: Nearest | None = None, episodes: int = 30, **limits: Any) -> Subject:
    model = model or Nearest()
    card = ModelCard(name="nearest", method="nearest", preprocessing=Preprocessing(1, 1, 1), default_steps=3, **limits)
    return Subject(model, card, data, embed_dataset(model, data), Sampling(episodes=episodes, seed=5), model.has_steps)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
@settings(max_examples=60, deadline=None)
def test_the_bins_hold_what_counting_by_hand_puts_there(drawn: list[tuple[float, bool]]) -> None:
    # Two classes: the more probable one is the answer, so a confidence is between 1/2 and 1.
    sure = np.array([0.5 + share / 2 for share, _ in drawn])
    labels = np.array([0 if right else 1 for _, right in drawn])
    nothing = np.array([0, 1])
    answers = Answers(Episode(nothing, nothing, nothing, labels), np.stack([sure, 1 - sure], axis=1))
    found = mistakes.reliability([answers], 2, 1)
    error = 0.0
    for entry in found.bins:
        here = [i for i, value in enumerate(sure) if entry.low < value <= entry.high]
        assert entry.count == len(here)
        if here:
            assert entry.confidence == pytest.approx(np.mean(sure[here]))
            assert entry.accuracy == pytest.approx(np.mean(labels[here] == 0))
            error += len(here) / len(sure) * abs(entry.accuracy - entry.confidence)
    assert found.error == pytest.approx(error)
    assert sum(entry.count for entry in found.bins) == len(sure)
    assert [entry.low for entry in found.bins[1:]] == [entry.high for entry in found.bins[:-1]]


def test_a_confidence_at_either_end_has_a_bin() -> None:
    nothing = np.array([0])
    answers = Answers(Episode(nothing, nothing, nothing, np.array([0, 0])), np.array([[0.0], [1.0]]))
    counts = [entry.count for entry in mistakes.reliability([answers], 1, 1).bins]
    assert counts == [1, *[0] * 8, 1]


def test_confusions_are_counted_against_the_queries_where_they_could_have_happened() -> None:
    subject = subject_of(noisy(6, 12))
    answers = list(subject.answers(3, 2, 40))
    taken, asked = Counter[tuple[int, int]](), Counter[tuple[int, int]]()
    for answer in answers:
        classes = answer.classes(subject.data)
        for query, label, predicted in zip(
            answer.episode.query, answer.episode.query_labels, answer.predicted, strict=True
        ):
            # Independently of `classes`: the pixel's place in the data set says its class.
            own = int(query) // 12
            assert classes[label] == own
            for other in classes:
                asked[own, int(other)] += 1
            taken[own, int(classes[predicted])] += 1
    found = mistakes.confused_pairs(answers, subject.data)
    assert {(pair.label, pair.predicted) for pair in found} == {key for key in taken if key[0] != key[1]}
    for pair in found:
        key = pair.label, pair.predicted
        assert (pair.taken, pair.asked) == (taken[key], asked[key])
    bounds = [wilson_interval(pair.taken, pair.asked)[0] for pair in found]
    assert bounds == sorted(bounds, reverse=True)


def test_a_slip_at_one_meeting_ranks_below_a_steady_confusion() -> None:
    assert mistakes.Pair(0, 1, 30, 60).at_least > mistakes.Pair(0, 1, 2, 3).at_least


def test_rows_of_the_matrix_are_the_shares_of_each_class_among_themselves() -> None:
    # Classes 0 and 1 cannot be told apart, 2 and 3 cannot either, and 4 to 11 are far from everything.
    near = [[10, 12] * 8, [12, 10] * 8, [60, 63] * 8, [63, 60] * 8]
    far = [[90 + 12 * c] * 16 for c in range(8)]
    subject = subject_of(data_of([*near, *far]), episodes=60)
    found = mistakes.confusions(subject, 1, lambda amount: None)
    assert set(found.classes) == {0, 1, 2, 3}
    order = np.argsort(found.classes)
    shares = found.shares[np.ix_(order, order)]
    assert shares.sum(axis=1) == pytest.approx(1)
    assert shares[:2, 2:] == pytest.approx(0) and shares[2:, :2] == pytest.approx(0)
    assert 0.2 < shares[0, 1] < 0.8 and 0.2 < shares[2, 3] < 0.8
    assert (found.searched_way, found.episodes) == (12, 20)


def test_few_classes_are_all_in_the_matrix_and_none_where_nothing_is_confused() -> None:
    few = subject_of(data_of([[10] * 4, [90] * 4]))
    found = mistakes.confusions(few, 1, lambda amount: None)
    assert found.classes.tolist() == [0, 1] and found.shares == pytest.approx(np.eye(2))
    many = subject_of(data_of([[10 * c] * 4 for c in range(12)]))
    assert not len(mistakes.confusions(many, 1, lambda amount: None).classes)


def test_examples_go_from_easy_to_hard() -> None:
    subject = subject_of(noisy(8, 20))
    answers = list(subject.answers(5, 1, 100))
    shown = mistakes.examples(answers)
    shares = [one.answers.right.mean() for one in shown]
    assert [one.kind for one in shown] == ["easy", "typical", "hard"]
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[2]
    for one, share in zip(shown, shares, strict=True):
        better = np.mean([answer.right.mean() > share for answer in answers])
        at_least_as_good = np.mean([answer.right.mean() >= share for answer in answers])
        assert better <= one.better + 1e-9 <= at_least_as_good
    assert [one.kind for one in mistakes.examples(answers[:1])] == ["hard"]


def test_a_figure_is_what_evaluate_measures() -> None:
    subject = subject_of(noisy(8, 20))
    for way, shot, episodes in ((2, 1, 30), (5, 5, 30), (8, 2, 20)):
        expected = evaluate_episodes(
            subject.model,
            subject.data,
            EvaluationProtocol(n_way=way, n_shot=shot, n_query=15, episodes=episodes, steps=3, seed=5),
        )
        assert subject.accuracy(way, shot) == expected
        answers = list(subject.answers(way, shot, episodes))
        assert np.mean([answer.right.mean() for answer in answers]) == pytest.approx(expected.accuracy)


def test_episodes_of_many_classes_are_fewer_but_never_few() -> None:
    subject = subject_of(noisy(2, 3), episodes=600)
    assert [subject.protocol(way, 1).episodes for way in (2, 5, 10, 50, 200)] == [600, 600, 300, 60, 20]
    assert subject_of(noisy(2, 3), episodes=7).protocol(50, 1).episodes == 7


@pytest.mark.parametrize(
    ("classes", "per_class", "changes", "ways", "shots", "words"),
    [
        (60, 22, {}, [2, 5, 10, 20, 50], [1, 2, 5, 10, 20], []),
        (63, 22, {}, [2, 5, 10, 20, 50, 63], [1, 2, 5, 10, 20], []),
        (2, 22, {}, [2], [1, 2, 5, 10, 20], ["No 5, 10, 20 or 50 ways: there are 2 classes."]),
        (8, 22, {"max_ways": 6}, [2, 5], [1, 2, 5, 10, 20], ["No 10, 20 or 50 ways: the model takes at most 6 classes."]),
        (8, 8, {}, [2, 5, 8], [1, 2, 5], ["No 10 or 20 shots: class 'class 0' has 8 images where an episode takes 11."]),
        (50, 22, {"max_support": 9}, [2, 5, 10, 20, 50], [1, 2], ["the model takes at most 9 support images"]),
        (8, 1, {}, [2, 5, 8], [], ["No 1, 2, 5, 10 or 20 shots: class 'class 0' has 1 images"]),
    ],
)  # fmt: skip
def test_what_the_data_do_not_allow_is_left_out_with_the_reason(
    classes: int, per_class: int, changes: dict[str, Any], ways: list[int], shots: list[int], words: list[str]
) -> None:
    data = data_of([[c] * per_class for c in range(classes)])
    found_ways, found_shots, omitted = measure.ways_and_shots(subject_of(data, **changes))
    assert (found_ways, found_shots) == (ways, shots)
    for part in words:
        assert any(part in sentence for sentence in omitted), omitted
    if not changes and classes >= 50 and per_class > 20:
        assert not omitted


def test_cells_beyond_the_models_support_are_named() -> None:
    subject = subject_of(noisy(8, 20), max_support=20, episodes=5)
    table = measure.accuracy_table(subject, [2, 8], [1, 5], lambda amount: None)
    assert set(table.cells) == {(2, 1), (2, 5), (8, 1)}
    assert table.omitted == ("No 8-way 5-shot: the model takes at most 20 support images.",)
    assert mistakes.search_protocol(subject, 5).n_way == 4


def test_steps_are_those_that_are_asked_for_and_the_models_own() -> None:
    subject = subject_of(noisy(4, 12), episodes=3)
    curve = measure.steps_curve(subject, 4, [1, 5], lambda amount: None)
    assert curve.steps == (0, 1, 2, 3, 5, 10, 20, 50, 100)
    assert set(curve.cells) == {(shot, count) for shot in (1, 5) for count in curve.steps}
    without = measure.steps_curve(subject_of(noisy(4, 12), model=Nearest(False)), 4, [1], lambda amount: None)
    assert (without.steps, without.cells) == ((), {})


def test_times_are_of_the_calls() -> None:
    calls: list[int] = []
    timing = time_calls("count", lambda: calls.append(1))
    assert len(calls) == timing.calls + 1 and 0 <= timing.low <= timing.median <= timing.high
