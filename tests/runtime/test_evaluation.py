"""Accuracy over episodes: models whose accuracy is known beforehand."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_adapt.runtime.contract import BATCH, HeadState
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol, draw_episodes
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.evaluation import Evaluation, embed_dataset, evaluate_episodes

PROTOCOL = EvaluationProtocol(n_way=4, n_shot=2, n_query=5, episodes=50, steps=3, seed=11)


@pytest.fixture
def data() -> ImageDataset:
    """Ten classes of 4 to 13 images, whose only pixel is their class."""
    counts = list(range(4, 14))
    images = np.repeat(np.arange(10, dtype=np.uint8), counts).reshape(-1, 1, 1, 1)
    return ImageDataset("ten", images, tuple("abcdefghij"), np.cumsum([0, *counts], dtype=np.int64))


class Oracle:
    """Knows the class of every image; asked for the logits of a query, it is wrong for some of the classes."""

    def __init__(self, blind_to: tuple[int, ...] = ()) -> None:
        self.blind_to = blind_to
        self.embedded: list[int] = []
        self.steps: set[int] = set()

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The class, [B, 1]."""
        self.embedded.append(len(images))
        return images.reshape(-1, 1).astype(np.float32)

    def adapt(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
    ) -> tuple[HeadState, NDArray[np.float32]]:
        """The class of each label."""
        assert np.bincount(labels, minlength=n_way).tolist() == [2] * n_way
        self.steps.add(steps)
        classes = np.array([features[labels == label, 0].mean() for label in range(n_way)])
        return {"classes": classes}, np.zeros(steps, np.float32)

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """-1 for each class but the query's."""
        logits = -np.abs(features - state["classes"]).clip(max=1)
        logits[np.isin(features[:, 0], self.blind_to)] *= -1
        return logits.astype(np.float32)


class Constant(Oracle):
    """Says the first class whatever it sees."""

    def predict(self, features: NDArray[np.float32], state: HeadState) -> NDArray[np.float32]:
        """1 for the first label."""
        return np.eye(len(state["classes"]), dtype=np.float32)[[0] * len(features)]


def test_an_oracle_is_always_right(data: ImageDataset) -> None:
    oracle = Oracle()
    assert evaluate_episodes(oracle, data, PROTOCOL) == Evaluation(1.0, 0.0, PROTOCOL)
    assert oracle.steps == {3}


def test_every_image_is_embedded_once_in_batches(data: ImageDataset) -> None:
    oracle = Oracle()
    evaluate_episodes(oracle, data, PROTOCOL)
    assert sum(oracle.embedded) == len(data.images) and max(oracle.embedded) <= BATCH


def test_features_computed_before_measure_the_same(data: ImageDataset) -> None:
    oracle = Oracle((1, 5, 8))
    features = embed_dataset(oracle, data)
    assert features.queries.shape == (len(data.images), 1) and features.queries.dtype == np.float32
    assert features.shots is features.queries
    oracle.embedded.clear()
    given = evaluate_episodes(oracle, data, PROTOCOL, features=features)
    assert not oracle.embedded
    assert given == evaluate_episodes(oracle, data, PROTOCOL)
    with pytest.raises(EdgeAdaptError, match="ten: there are 85 images and features of 84"):
        evaluate_episodes(oracle, data, PROTOCOL, features=features.of(slice(1, None)))


@pytest.mark.parametrize("n_way", [2, 5])
def test_a_constant_answer_is_right_for_one_class_in_n_way(n_way: int) -> None:
    images = np.repeat(np.arange(6, dtype=np.uint8), 9).reshape(-1, 1, 1, 1)
    balanced = ImageDataset("six", images, tuple("abcdef"), np.arange(7, dtype=np.int64) * 9)
    result = evaluate_episodes(Constant(), balanced, replace(PROTOCOL, n_way=n_way))
    assert result.accuracy == pytest.approx(1 / n_way, abs=1e-12)
    assert result.ci95 == pytest.approx(0, abs=1e-12)


def test_accuracy_and_interval_are_those_of_the_episodes(data: ImageDataset) -> None:
    blind_to = (1, 5, 8)
    accuracies = []
    for episode in draw_episodes(data, PROTOCOL):
        classes = data.images[episode.query].ravel()
        accuracies.append(sum(int(c) not in blind_to for c in classes) / len(classes))
    result = evaluate_episodes(Oracle(blind_to), data, PROTOCOL)
    assert result.accuracy == pytest.approx(statistics.mean(accuracies), abs=1e-12)
    assert result.ci95 == pytest.approx(1.96 * statistics.stdev(accuracies) / math.sqrt(50), rel=1e-9)
    assert 0.3 < result.accuracy < 0.9


def test_patterns_choose_the_files_that_are_drawn(data: ImageDataset) -> None:
    """Every third image shows something else; the patterns leave it out."""
    files = tuple(f"{('train', 'test', 'other')[index % 3]}_{index}" for count in data.counts for index in range(count))
    other = np.array([100 * file.startswith("other") for file in files], np.uint8).reshape(-1, 1, 1, 1)
    named = replace(data, images=data.images + other, files=files)
    assert evaluate_episodes(Oracle(), named, PROTOCOL).accuracy < 1
    chosen = replace(PROTOCOL, support_files="train_*", query_files="test_*")
    assert evaluate_episodes(Oracle(), named, chosen) == Evaluation(1.0, 0.0, chosen)
    oracle = Oracle()
    with pytest.raises(DataError, match="class 'a' has 2 files that --support-files matches"):
        evaluate_episodes(oracle, named, replace(chosen, n_shot=3))
    assert not oracle.embedded


def test_the_same_seed_measures_the_same_and_another_another(data: ImageDataset) -> None:
    model = Oracle((1, 5, 8))
    results = {evaluate_episodes(model, data, replace(PROTOCOL, seed=seed)).accuracy for seed in (11, 11, 12)}
    assert len(results) == 2


def test_a_single_episode_has_no_interval(data: ImageDataset) -> None:
    assert evaluate_episodes(Oracle(), data, replace(PROTOCOL, episodes=1)).ci95 == 0


@pytest.mark.parametrize(
    "change", [{"n_way": 1}, {"n_shot": 0}, {"n_query": 0}, {"episodes": 0}, {"steps": -1}, {"seed": -1}]
)
def test_arguments_that_no_episode_can_have_are_named(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    with pytest.raises(EdgeAdaptError, match=f"^{name} is {value}; take [012] or more.$"):
        replace(PROTOCOL, **change)


def test_a_number_of_steps_that_would_not_end_is_refused() -> None:
    with pytest.raises(EdgeAdaptError, match="steps is 100000000000000000000; take 10000 or fewer"):
        replace(PROTOCOL, steps=10**20)


def test_a_model_alone_knows_no_number_of_steps(data: ImageDataset) -> None:
    with pytest.raises(EdgeAdaptError, match="no number of steps; give one"):
        evaluate_episodes(Oracle(), data, replace(PROTOCOL, steps=None))


def test_a_data_set_that_is_too_small_is_named_before_any_work(data: ImageDataset) -> None:
    oracle = Oracle()
    with pytest.raises(DataError, match="11 ways need as many classes"):
        evaluate_episodes(oracle, data, replace(PROTOCOL, n_way=11))
    with pytest.raises(DataError, match="class 'a' has 4 images where an episode takes 5"):
        evaluate_episodes(oracle, data, replace(PROTOCOL, n_shot=4))
    assert not oracle.embedded


def test_progress_goes_to_standard_error(
    data: ImageDataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_adapt.runtime.progress._MOMENT_SECONDS", 0.0)
    evaluate_episodes(Oracle(), data, PROTOCOL, progress=True)
    shown = capsys.readouterr()
    assert not shown.out and "embedding: 100%" in shown.err and "evaluating: 100%" in shown.err
    evaluate_episodes(Oracle(), data, PROTOCOL)
    assert capsys.readouterr() == ("", "")
