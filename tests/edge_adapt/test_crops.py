"""Training on crops of another size than the images that the model is asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from torch import Tensor, nn

from edge_adapt.configuration import TrainingConfig
from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images import Preprocessing
from edge_adapt.training import train

Configure = Callable[..., TrainingConfig]


@pytest.fixture
def photos(training_data: ImageDataset) -> ImageDataset:
    """16 classes of 10 RGB images, 28x28."""
    return replace(training_data, images=np.repeat(training_data.images, 3, axis=-1))


class Watched(nn.Module):
    """A backbone that notes the sides of the images that it trains on and of those that it is asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.in_training: set[int] = set()
        self.asked: set[int] = set()

    def forward(self, images: Tensor) -> Tensor:
        (self.in_training if self.training else self.asked).add(images.shape[-1])
        features: Tensor = self.layers(images)
        return features


@pytest.mark.parametrize("method", ["anil", "reptile", "classify"])
@pytest.mark.parametrize(("crop_size", "trained_on"), [(20, 20), (None, 28)])
def test_a_backbone_trains_on_crops_and_is_measured_on_whole_images(
    method: str, crop_size: int | None, trained_on: int, photos: ImageDataset, tmp_path: Path, tiny_config: Configure
) -> None:
    backbone = Watched()
    config = tiny_config(method=method, grayscale=False, augment=True, crop_size=crop_size, iterations=1)
    train(photos, tmp_path / "run", config, backbone=backbone, validation=photos, device="cpu", piece=1, bf16=False)
    assert backbone.in_training == {trained_on}
    assert backbone.asked - {trained_on} <= {28}
    assert 28 in backbone.asked


def test_crops_are_of_the_part_that_is_seen(tiny_config: Configure) -> None:
    config = tiny_config(grayscale=False, augment=True, crop_size=20, part=0.7)
    assert config.preprocessing == Preprocessing(28, 28, 3, part=0.7)
    assert config.trained_on == Preprocessing(20, 20, 3, part=0.7)


@pytest.mark.parametrize(
    ("method", "crop_size", "said"),
    [
        ("classify", 8, r"Conv4 fails on images of \(8, 8, 3\).*choose another .*crop size"),
        ("anil", 40, "320 features of crops of 40 pixels and 64 of images of 28; choose a crop size nearer"),
    ],
)
def test_crops_that_do_not_suit_the_backbone_are_refused_at_once(
    method: str, crop_size: int, said: str, photos: ImageDataset, tmp_path: Path, tiny_config: Configure
) -> None:
    config = tiny_config(method=method, grayscale=False, augment=True, crop_size=crop_size, iterations=1)
    with pytest.raises(EdgeAdaptError, match=said):
        train(photos, tmp_path / "run", config, device="cpu")
    assert not (tmp_path / "run").exists()
