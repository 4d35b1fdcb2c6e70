"""The crops that a teacher sees: cut again as they were, and their features computed once."""

from __future__ import annotations

import dataclasses
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
import torch
from torch import Tensor, nn

from edge_adapt.methods.augmentation import seen_through
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.methods.stored_crops import cut_for, features_of_crops, stored_crops
from edge_adapt.runtime.data.dataset import ImageDataset
from tests.gratings import gratings
from tests.training_runs import refusal

CPU = torch.device("cpu")

DRAWINGS = gratings(4, 6)

PHOTOS = dataclasses.replace(DRAWINGS, images=np.repeat(DRAWINGS.images, 3, axis=-1))


class Means(nn.Module):
    """Averages of a few parts of an image through a linear map, and how many images it saw."""

    def __init__(self, channels: int = 3, features: int = 12, seed: int = 0) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)
        self.linear = nn.Linear(16 * channels, features)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.linear.weight, 0, 0.3, generator=generator)
        self.images = 0

    def forward(self, images: Tensor) -> Tensor:
        """Pixels in 0..255, [B, H, W, C], to [B, features]."""
        self.images += len(images)
        pixels = images.permute(0, 3, 1, 2).float() / 255
        features: Tensor = self.linear(self.pool(pixels).flatten(1))
        return features


def taught_by(module: nn.Module, grayscale: bool = False, image_size: int = 20) -> FeatureTeacher:
    return FeatureTeacher.of_module(module, image_size, grayscale=grayscale)


@pytest.mark.parametrize("data", [PHOTOS, DRAWINGS], ids=["photos", "drawings"])
def test_crops_are_cut_again_as_they_were(data: ImageDataset) -> None:
    maps = stored_crops(data, 4)
    assert torch.equal(maps[:2], stored_crops(data, 2))  # so that of more crops only the further ones are new
    assert len(np.unique(maps.flatten(1), axis=0)) == 4
    teacher = taught_by(Means(data.images.shape[-1]), data is DRAWINGS)
    crops = cut_for(teacher, data.images, maps[3])
    np.testing.assert_array_equal(crops, cut_for(teacher, data.images, stored_crops(data, 4)[3]))
    pixels = torch.from_numpy(data.images).permute(0, 3, 1, 2).float()
    of_student = seen_through(pixels, maps[3], 20, 20).permute(0, 2, 3, 1)
    assert np.abs(crops - of_student.numpy()).max() <= 0.501


def test_the_first_crops_are_whole_images_and_photos_mirrored() -> None:
    whole = taught_by(Means(), image_size=28)
    first, second = (cut_for(whole, PHOTOS.images, maps) for maps in stored_crops(PHOTOS, 2))
    np.testing.assert_array_equal(first, PHOTOS.images)
    np.testing.assert_array_equal(second, PHOTOS.images[:, :, ::-1])
    drawn = stored_crops(DRAWINGS, 8)  # of which one in four stays as it is
    assert not (torch.linalg.det(drawn[..., :2]) < 0).any()


def test_features_are_those_of_the_crops_and_computed_once(tmp_path: Path) -> None:
    module = Means()
    teacher, images = taught_by(module), len(PHOTOS.images)
    tried = module.images
    for crops, computed in ((2, 2), (2, 2), (3, 3), (1, 3)):  # in all
        maps = stored_crops(PHOTOS, crops)
        features = features_of_crops(teacher, PHOTOS, maps, tmp_path)
        assert module.images - tried == computed * images
    for found, of_crop in zip(features_of_crops(teacher, PHOTOS, maps, tmp_path), maps, strict=True):
        assert found.dtype == np.float16
        direct = module(torch.from_numpy(cut_for(teacher, PHOTOS.images, of_crop))).detach().numpy()
        np.testing.assert_allclose(found, direct, rtol=1e-3, atol=1e-3)
    assert len(features) == 1
    before = module.images
    features_of_crops(taught_by(Means(seed=1)), PHOTOS, maps, tmp_path)
    features_of_crops(teacher, dataclasses.replace(PHOTOS, images=255 - PHOTOS.images), maps, tmp_path)
    assert module.images - before == images
    assert len(list(tmp_path.iterdir())) == 5


def test_a_damaged_cache_is_computed_again(tmp_path: Path) -> None:
    teacher, maps = taught_by(Means()), stored_crops(PHOTOS, 1)
    expected = np.array(features_of_crops(teacher, PHOTOS, maps, tmp_path)[0])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    np.testing.assert_array_equal(features_of_crops(teacher, PHOTOS, maps, tmp_path)[0], expected)


def test_an_rgb_teacher_sees_grey_images(tmp_path: Path) -> None:
    teacher, maps = taught_by(Means()), stored_crops(DRAWINGS, 1)
    np.testing.assert_array_equal(
        cut_for(teacher, DRAWINGS.images, maps[0])[..., 2], cut_for(teacher, PHOTOS.images, maps[0])[..., 0]
    )


def test_a_cache_without_room_is_named_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2 * 24 * 12 * 2 - 1))
    module = Means()
    teacher = taught_by(module)
    tried = module.images
    said = refusal(lambda: features_of_crops(teacher, PHOTOS, stored_crops(PHOTOS, 2), tmp_path))
    assert said.startswith(
        f"{tmp_path} has 0 MB left and the features of the teacher Means take 0; take fewer --teacher-crops"
    )
    assert module.images == tried
    features_of_crops(teacher, PHOTOS, stored_crops(PHOTOS, 1), tmp_path)


def test_features_beyond_half_precision_are_refused(tmp_path: Path) -> None:
    module = Means()
    nn.init.constant_(module.linear.bias, 1e6)
    said = refusal(lambda: features_of_crops(taught_by(module), PHOTOS, stored_crops(PHOTOS, 1), tmp_path))
    assert "the teacher Means gives features of gratings that half precision cannot hold" in said
