"""Labelled images as one array, and the evaluation episodes drawn from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.gratings import gratings, write_images
from tests.image_files import noise, refusal, write

GRAY = Preprocessing(6, 6, 1)


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


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (np.zeros((4, 8, 8, 3), np.float32), r"float32 \[4, 8, 8, 3\]"),
        (np.zeros((4, 8, 8, 3), np.int64), r"int64 \[4, 8, 8, 3\]"),
        (np.zeros((4, 8, 8), np.uint8), r"uint8 \[4, 8, 8\]"),
    ],
)
def test_images_of_another_type_or_shape_are_refused_at_the_door(images: NDArray[Any], said: str) -> None:
    with pytest.raises(
        DataError, match=f"^arrays: the images are {said}, and a data set takes uint8 .* as they are decoded.$"
    ):
        ImageDataset("arrays", images, ("a", "b"), np.array([0, 2, 4]))
