"""Labelled images as one array, and the evaluation episodes drawn from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import draw_episodes
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.gratings import gratings, write_images
from tests.image_files import noise, refusal, write

GRAY = Preprocessing(6, 6, 1)


def counted(counts: list[int]) -> ImageDataset:
    """Images of one pixel, numbered through, with so many of each class."""
    images = np.arange(sum(counts)).astype(np.uint8).reshape(-1, 1, 1, 1)
    starts = np.cumsum([0, *counts], dtype=np.int64)
    return ImageDataset("counted", images, tuple(f"class {label}" for label in range(len(counts))), starts)


# Reading


def test_images_of_a_class_lie_side_by_side_in_order(tmp_path: Path) -> None:
    root = write(
        tmp_path / "data",
        {"b/1.png": noise(0), "a/2.png": noise(1), "a/1.png": noise(2), "c/deep/9.png": noise(3), "b/0.png": noise(4)},
    )
    data = load_dataset(root, GRAY)
    assert data.class_names == ("a", "b", "c/deep") and data.source == str(root)
    assert data.starts.tolist() == [0, 2, 4, 5] and data.counts.tolist() == [2, 2, 1]
    assert data.images.dtype == np.uint8 and data.starts.dtype == np.int64
    np.testing.assert_array_equal(data.images[..., 0], np.stack([noise(seed) for seed in (2, 1, 4, 0, 3)]))
    assert data.files == ("a/1.png", "a/2.png", "b/0.png", "b/1.png", "c/deep/9.png") and data.skipped == ()


def test_a_data_set_reads_back_as_it_was_written(tmp_path: Path) -> None:
    expected = gratings(3, 4, size=12)
    data = load_dataset(write_images(tmp_path / "data", expected), Preprocessing(12, 12, 1))
    assert data.class_names == expected.class_names
    np.testing.assert_array_equal(data.images, expected.images)
    np.testing.assert_array_equal(data.starts, expected.starts)


def test_images_are_brought_to_the_size_and_channels(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {"a/1.png": noise(0, (9, 14, 3)), "b/1.png": noise(1, (30, 5))})
    assert load_dataset(root, Preprocessing(4, 5, 3)).images.shape == (2, 4, 5, 3)


def test_rotations_make_four_classes_of_each(tmp_path: Path) -> None:
    root = write(
        tmp_path / "data", {f"{label}/{index}.png": noise(index, (6, 6)) for label in "ab" for index in range(3)}
    )
    plain, turned = load_dataset(root, GRAY), load_dataset(root, GRAY, rotations=True)
    assert turned.class_names == tuple(f"{label} rotated {angle}" for angle in (0, 90, 180, 270) for label in "ab")
    assert turned.counts.tolist() == [3] * 8 and turned.files == plain.files * 4
    for turns in range(4):
        for label in range(2):
            start = turned.starts[2 * turns + label]
            for index in range(3):
                expected = np.rot90(plain.images[3 * label + index], turns)
                np.testing.assert_array_equal(turned.images[start + index], expected)


def test_rotations_need_squares(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {"a/1.png": noise(0)})
    message = refusal(lambda: load_dataset(root, Preprocessing(6, 7, 1), rotations=True))
    assert "rotations need square images and these are 6x7" in message


def test_lists_pick_the_classes_that_end_with_a_line(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {f"{name}/1.png": noise(0) for name in ("x/a", "x/b", "y/a", "y/ba")})
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"
    first.write_bytes(b"\xef\xbb\xbfx/a\r\n\r\n")  # with the byte order mark and line ends of Windows
    second.write_text("  ba  \n")
    assert load_dataset(root, GRAY, [first, second]).class_names == ("x/a", "y/ba")
    second.write_text("a\n")
    assert load_dataset(root, GRAY, [second]).class_names == ("x/a", "y/a")


def test_lists_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "data", {"a/1.png": noise(0)})
    listing = tmp_path / "classes.txt"
    message = refusal(lambda: load_dataset(root, GRAY, [listing]))
    assert str(listing) in message and "cannot be read" in message
    listing.write_text(" \n\n")
    assert "the list of classes is empty" in refusal(lambda: load_dataset(root, GRAY, [listing]))
    listing.write_text("a\nzebra\n")
    message = refusal(lambda: load_dataset(root, GRAY, [listing]))
    assert "zebra" in message and str(listing) in message
    listing.write_bytes(b"\xff\xfe\x00a")
    assert "cannot be read" in refusal(lambda: load_dataset(root, GRAY, [listing]))


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "gone" in refusal(lambda: load_dataset(tmp_path / "gone", GRAY))


# Episodes


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_an_episode_has_its_shots_and_queries_and_no_image_twice(data: st.DataObject) -> None:
    n_shot, n_query = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 6))
    counts = data.draw(st.lists(st.integers(n_shot + 1, 12), min_size=2, max_size=10))
    n_way, seed = data.draw(st.integers(2, len(counts))), data.draw(st.integers(0, 2**63))
    dataset = counted(counts)
    label_of = np.repeat(np.arange(len(counts)), counts)
    episodes = list(draw_episodes(dataset, n_way, n_shot, n_query, 4, seed))
    assert len(episodes) == 4
    for episode in episodes:
        drawn = [*episode.support.tolist(), *episode.query.tolist()]
        assert len(set(drawn)) == len(drawn)
        assert episode.support_labels.tolist() == [label for label in range(n_way) for _ in range(n_shot)]
        classes = label_of[episode.support[::n_shot]]
        assert len(set(classes.tolist())) == n_way
        np.testing.assert_array_equal(label_of[episode.support], classes[episode.support_labels])
        np.testing.assert_array_equal(label_of[episode.query], classes[episode.query_labels])
        asked = np.bincount(episode.query_labels, minlength=n_way)
        assert asked.tolist() == [min(n_query, counts[label] - n_shot) for label in classes]
        assert {array.dtype for array in vars(episode).values()} == {np.dtype(np.int64)}
    again = list(draw_episodes(dataset, n_way, n_shot, n_query, 4, seed))
    for one, other in zip(episodes, again, strict=True):
        for name, array in vars(one).items():
            np.testing.assert_array_equal(array, vars(other)[name])


def test_another_seed_draws_other_episodes() -> None:
    dataset = counted([20] * 10)
    drawn = {next(draw_episodes(dataset, 5, 1, 5, 1, seed)).query.tobytes() for seed in range(20)}
    assert len(drawn) == 20


def test_every_image_serves_as_support_and_as_query() -> None:
    dataset = counted([3, 5, 4])
    episodes = list(draw_episodes(dataset, 2, 1, 2, 200, 0))
    for name in ("support", "query"):
        assert set(np.concatenate([vars(episode)[name] for episode in episodes]).tolist()) == set(range(12))


def test_data_sets_that_are_too_small_are_named() -> None:
    dataset = counted([5, 2, 4])
    message = refusal(lambda: next(draw_episodes(dataset, 4, 1, 1, 1, 0)))
    assert "counted: 4 ways need as many classes and there are 3" in message
    message = refusal(lambda: next(draw_episodes(dataset, 2, 2, 1, 1, 0)))
    assert "class 'class 1' has 2 images where an episode takes 3" in message
    dataset.require(3, 2)


def test_the_episodes_of_a_seed_are_those_of_earlier_versions() -> None:
    episode = next(draw_episodes(counted([3, 9, 14, 5, 7]), 3, 2, 4, 1, 7))
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
            draw_episodes(data, 2, n_shot, 3, 10, 0, support_files, query_files)
        return
    label_of = np.repeat(np.arange(len(names)), data.counts)
    for episode in draw_episodes(data, 2, n_shot, 3, 10, 0, support_files, query_files):
        for label in range(2):
            support = set(episode.support[episode.support_labels == label].tolist())
            query = set(episode.query[episode.query_labels == label].tolist())
            drawn = label_of[min(support)]
            assert len(support) == n_shot and support <= allowed(support_files, drawn)
            left = allowed(query_files, drawn) - support
            assert query <= left and len(query) == min(3, len(left))


def test_a_pattern_that_all_files_match_draws_what_no_pattern_draws() -> None:
    data = named(*[[f"{index}.png" for index in range(count)] for count in (7, 9, 8, 12)])
    for one, other in zip(
        draw_episodes(data, 3, 2, 4, 9, 5), draw_episodes(data, 3, 2, 4, 9, 5, "*.png", "*"), strict=True
    ):
        for name, array in vars(one).items():
            np.testing.assert_array_equal(array, vars(other)[name])


def test_patterns_that_leave_a_class_too_little_are_named_at_once() -> None:
    data = named(["train_1", "train_2", "test_1"], ["train_1", "test_1", "test_2"], ["train_1", "train_2"])
    message = refusal(lambda: draw_episodes(data, 2, 2, 1, 1, 0, "train_*", "test_*"))
    assert "class 'class 1' has 1 files that --support-files matches where an episode takes 2" in message
    message = refusal(lambda: draw_episodes(data, 2, 1, 1, 1, 0, "train_*", "test_*"))
    assert "class 'class 2' has no file that --query-files matches" in message
    message = refusal(lambda: draw_episodes(data, 2, 1, 1, 1, 0, "*", "test_*"))
    assert "class 'class 0' may have no query left, since --support-files matches all that --query-files" in message
    message = refusal(lambda: draw_episodes(data, 4, 1, 1, 1, 0, "train_*", "test_*"))
    assert "4 ways need as many classes" in message
    assert "come from no files" in refusal(lambda: draw_episodes(counted([3, 3]), 2, 1, 1, 1, 0, "train_*"))


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=6), PATTERNS, PATTERNS, st.integers(1, 7))
def test_a_refusal_blames_no_pattern_that_was_not_given(
    names: list[str], support_files: str | None, query_files: str | None, n_shot: int
) -> None:
    data = named(names, ["train_1.jpg", "test_1.jpg"] * 9)
    try:
        draw_episodes(data, 2, n_shot, 1, 1, 0, support_files, query_files)
    except DataError as error:
        found, remedy = str(error).split("; ")
        assert support_files is not None or "--support-files" not in found
        assert query_files is not None or "--query-files" not in str(error)
        assert support_files or query_files or "pattern" not in remedy


def test_a_class_that_is_too_small_is_said_to_lack_images() -> None:
    data = named(["train_1", "test_1", "test_2"], ["train_1", "test_1", "test_2", "test_3"])
    message = refusal(lambda: draw_episodes(data, 2, 4, 1, 1, 0, None, "test_*"))
    assert "class 'class 0' has 3 images where an episode takes 4; add images or choose a smaller --shot." in message
    message = refusal(lambda: draw_episodes(data, 2, 3, 1, 1, 0, "*", None))
    assert "class 'class 0' may have no query left, since an episode learns from all 3 of its images" in message
    message = refusal(lambda: draw_episodes(data, 2, 2, 1, 1, 0, None, "test_*"))
    assert "may be support; give --support-files that match others." in message
