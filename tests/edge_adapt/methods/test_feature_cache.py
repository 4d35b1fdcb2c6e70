"""The cache of features: computed once, and again when the weights, the images or the file are not what they were."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

from torch import nn

from edge_adapt.methods.feature_cache import cached_features, digest_of
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from tests.gratings import gratings

DATA = gratings(3, 4)


class Counting(EpisodeModel):
    """Means of rows as features, and how many images it was given."""

    def __init__(self) -> None:
        self.images = 0

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.images += len(images)
        features: NDArray[np.float32] = images.mean(axis=(2, 3), dtype=np.float32)
        return features


def features(directory: Path, weights: str = "a", data: ImageDataset = DATA) -> tuple[NDArray[np.float32], int]:
    """The features, and how many images were embedded for them."""
    model = Counting()  # type: ignore[abstract]
    found = cached_features(model, weights, data, directory)
    np.testing.assert_array_equal(found, data.images.mean(axis=(2, 3), dtype=np.float32))
    return found, model.images


def test_features_are_computed_once(tmp_path: Path) -> None:
    assert features(tmp_path / "new" / "cache")[1] == len(DATA.images)
    assert features(tmp_path / "new" / "cache")[1] == 0
    assert [path.suffix for path in (tmp_path / "new" / "cache").iterdir()] == [".npy"]


def test_other_weights_or_images_have_features_of_their_own(tmp_path: Path) -> None:
    features(tmp_path)
    assert features(tmp_path, "b")[1] == len(DATA.images)
    changed = DATA.images.copy()
    changed[-1, 0, 0, 0] ^= 1
    assert features(tmp_path, data=replace(DATA, images=changed))[1] == len(DATA.images)
    assert features(tmp_path)[1] == 0


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"something else entirely"])
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    features(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert features(tmp_path)[1] == len(DATA.images)
    assert features(tmp_path)[1] == 0


def test_features_of_other_shapes_are_replaced(tmp_path: Path) -> None:
    features(tmp_path)
    (path,) = tmp_path.iterdir()
    np.save(path, np.zeros((1, 2), np.float32))
    assert features(tmp_path)[1] == len(DATA.images)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        EdgeAdaptError,
        match=r"file/cache cannot be made to hold the features of gratings .*another place with --cache\.$",
    ):
        features(tmp_path / "file" / "cache")


def test_a_digest_changes_with_weights_and_buffers() -> None:
    linear, norm = nn.Linear(2, 2), nn.BatchNorm1d(2)
    module = nn.Sequential(linear, norm)
    assert norm.running_mean is not None
    before = digest_of(module)
    assert digest_of(module) == before
    nn.init.constant_(norm.running_mean, 1)
    changed = digest_of(module)
    assert changed != before
    nn.init.zeros_(linear.weight)
    assert digest_of(module) not in (before, changed)
