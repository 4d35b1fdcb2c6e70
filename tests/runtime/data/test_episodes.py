"""The evaluation episodes drawn from a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import Episode, EvaluationProtocol, draw_episodes
from edge_adapt.runtime.errors import DataError
from tests.image_files import refusal


def counted(counts: list[int]) -> ImageDataset:
    """Images of one pixel, numbered through, with so many of each class."""
    images = np.arange(sum(counts)).astype(np.uint8).reshape(-1, 1, 1, 1)
    starts = np.cumsum([0, *counts], dtype=np.int64)
    return ImageDataset("counted", images, tuple(f"class {label}" for label in range(len(counts))), starts)


def drawn(
    data: ImageDataset, n_way: int, n_shot: int, n_query: int, episodes: int, seed: int, *files: str | None
) -> Iterator[Episode]:
    """`draw_episodes` with all numbers in a row, and the patterns for support and queries behind them."""
    support_files, query_files = files or (None, None)
    return draw_episodes(
        data,
        EvaluationProtocol(
            n_way=n_way,
            n_shot=n_shot,
            n_query=n_query,
            episodes=episodes,
            seed=seed,
            support_files=support_files,
            query_files=query_files,
        ),
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_episode_has_its_shots_and_queries_and_no_image_twice(data: st.DataObject) -> None:
    n_shot, n_query = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    counts = data.draw(st.lists(st.integers(n_shot + 1, 12), min_size=2, max_size=10))
    n_way, seed = data.draw(st.integers(2, len(counts))), data.draw(st.integers(0, 2**63))
    dataset = counted(counts)
    label_of = np.repeat(np.arange(len(counts)), counts)
    episodes = list(drawn(dataset, n_way, n_shot, n_query, 4, seed))
    assert len(episodes) == 4
    for episode in episodes:
        images = [*episode.support.tolist(), *episode.query.tolist()]
        assert len(set(images)) == len(images)
        assert episode.support_labels.tolist() == [label for label in range(n_way) for _ in range(n_shot)]
        classes = label_of[episode.support[::n_shot]]
        assert len(set(classes.tolist())) == n_way
        np.testing.assert_array_equal(label_of[episode.support], classes[episode.support_labels])
        np.testing.assert_array_equal(label_of[episode.query], classes[episode.query_labels])
        asked = np.bincount(episode.query_labels, minlength=n_way)
        assert asked.tolist() == [min(n_query, counts[label] - n_shot) for label in classes]
        assert {array.dtype for array in vars(episode).values()} == {np.dtype(np.int64)}
    again = list(drawn(dataset, n_way, n_shot, n_query, 4, seed))
    for one, other in zip(episodes, again, strict=True):
        for name, array in vars(one).items():
            np.testing.assert_array_equal(array, vars(other)[name])


def test_another_seed_draws_other_episodes() -> None:
    dataset = counted([20] * 10)
    found = {next(drawn(dataset, 5, 1, 5, 1, seed)).query.tobytes() for seed in range(20)}
    assert len(found) == 20


def test_every_image_serves_as_support_and_as_query() -> None:
    dataset = counted([3, 5, 4])
    episodes = list(drawn(dataset, 2, 1, 2, 200, 0))
    for name in ("support", "query"):
        assert set(np.concatenate([vars(episode)[name] for episode in episodes]).tolist()) == set(range(12))


def test_data_sets_that_are_too_small_are_named() -> None:
    dataset = counted([5, 2, 4])
    message = refusal(lambda: next(drawn(dataset, 4, 1, 1, 1, 0)))
    assert "counted: 4 ways need as many classes and there are 3" in message
    message = refusal(lambda: next(drawn(dataset, 2, 2, 1, 1, 0)))
    assert "class 'class 1' has 2 images where an episode takes 3" in message
    dataset.require(3, 2)


def test_the_episodes_of_a_seed_are_those_of_earlier_versions() -> None:
    episode = next(drawn(counted([3, 9, 14, 5, 7]), 3, 2, 4, 1, 7))
    assert episode.support.tolist() == [15, 25, 29, 27, 33, 35]
    assert episode.query.tolist() == [20, 22, 13, 24, 30, 26, 28, 31, 34, 32, 36]


# Which files may be drawn


def named(*names: Sequence[str]) -> ImageDataset:
    """Images of one pixel, with these files in each class."""
    starts = np.cumsum([0, *map(len, names)], dtype=np.int64)
    files = tuple(f"class {label}/{name}" for label, of_label in enumerate(names) for name in of_label)
    images = np.zeros((len(files), 1, 1, 1), np.uint8)
    return ImageDataset("named", images, tuple(f"class {label}" for label in range(len(names))), starts, files)


NAMES = st.sampled_from(["train_1.jpg", "train_2.jpg", "test_1.jpg", "test_2.jpg", "other.jpg"])
PATTERNS = st.sampled_from([None, "train_*", "test_*", "*_1.jpg", "*"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(NAMES, min_size=2, max_size=12), min_size=2, max_size=5), PATTERNS, PATTERNS, st.integers(1, 3)
)
def test_patterns_choose_what_may_be_drawn(
    names: list[list[str]], support_files: str | None, query_files: str | None, n_shot: int
) -> None:
    data = named(*names)

    def allowed(pattern: str | None, label: int) -> set[int]:
        members = range(data.starts[label], data.starts[label + 1])
        own_name = [Path(file).name for file in data.files]
        return {index for index in members if pattern is None or Path(own_name[index]).match(pattern)}

    possible = all(
        len(support) >= n_shot and len(query) > min(n_shot, len(support & query))
        for support, query in ((allowed(support_files, c), allowed(query_files, c)) for c in range(len(names)))
    )
    if not possible:
        with pytest.raises(DataError, match="named: class 'class "):
            drawn(data, 2, n_shot, 3, 10, 0, support_files, query_files)
        return
    label_of = np.repeat(np.arange(len(names)), data.counts)
    for episode in drawn(data, 2, n_shot, 3, 10, 0, support_files, query_files):
        for label in range(2):
            support = set(episode.support[episode.support_labels == label].tolist())
            query = set(episode.query[episode.query_labels == label].tolist())
            label_drawn = label_of[min(support)]
            assert len(support) == n_shot and support <= allowed(support_files, label_drawn)
            left = allowed(query_files, label_drawn) - support
            assert query <= left and len(query) == min(3, len(left))


def test_a_pattern_that_all_files_match_draws_what_no_pattern_draws() -> None:
    data = named(*[[f"{index}.png" for index in range(count)] for count in (7, 9, 8, 12)])
    for one, other in zip(drawn(data, 3, 2, 4, 9, 5), drawn(data, 3, 2, 4, 9, 5, "*.png", "*"), strict=True):
        for name, array in vars(one).items():
            np.testing.assert_array_equal(array, vars(other)[name])


def test_patterns_that_leave_a_class_too_little_are_named_at_once() -> None:
    data = named(["train_1", "train_2", "test_1"], ["train_1", "test_1", "test_2"], ["train_1", "train_2"])
    message = refusal(lambda: drawn(data, 2, 2, 1, 1, 0, "train_*", "test_*"))
    assert "class 'class 1' has 1 files that --support-files matches where an episode takes 2" in message
    message = refusal(lambda: drawn(data, 2, 1, 1, 1, 0, "train_*", "test_*"))
    assert "class 'class 2' has no file that --query-files matches" in message
    message = refusal(lambda: drawn(data, 2, 1, 1, 1, 0, "*", "test_*"))
    assert "class 'class 0' may have no query left, since --support-files matches all that --query-files" in message
    message = refusal(lambda: drawn(data, 4, 1, 1, 1, 0, "train_*", "test_*"))
    assert "4 ways need as many classes" in message
    assert "come from no files" in refusal(lambda: drawn(counted([3, 3]), 2, 1, 1, 1, 0, "train_*", None))


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=6), PATTERNS, PATTERNS, st.integers(1, 7))
def test_a_refusal_blames_no_pattern_that_was_not_given(
    names: list[str], support_files: str | None, query_files: str | None, n_shot: int
) -> None:
    data = named(names, ["train_1.jpg", "test_1.jpg"] * 9)
    try:
        drawn(data, 2, n_shot, 1, 1, 0, support_files, query_files)
    except DataError as error:
        found, remedy = str(error).split("; ")
        assert support_files is not None or "--support-files" not in found
        assert query_files is not None or "--query-files" not in str(error)
        assert support_files or query_files or "pattern" not in remedy


def test_a_class_that_is_too_small_is_said_to_lack_images() -> None:
    data = named(["train_1", "test_1", "test_2"], ["train_1", "test_1", "test_2", "test_3"])
    message = refusal(lambda: drawn(data, 2, 4, 1, 1, 0, None, "test_*"))
    assert "class 'class 0' has 3 images where an episode takes 4; add images or choose a smaller --shot." in message
    message = refusal(lambda: drawn(data, 2, 3, 1, 1, 0, "*", None))
    assert "class 'class 0' may have no query left, since an episode learns from all 3 of its images" in message
    message = refusal(lambda: drawn(data, 2, 2, 1, 1, 0, None, "test_*"))
    assert "may be support; give --support-files that match others." in message
