"""Training on crops of another size than the images that the model is asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

pytest.importorskip("torch")

from torch import Tensor, nn

from edge_adapt.cli import main
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.training.config import TrainingConfig
from tests import command_reference
from tests.training_runs import train

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


@pytest.mark.parametrize("method", ["anil", pytest.param("reptile", marks=pytest.mark.slow), "pretrain"])
@pytest.mark.parametrize(("crop_size", "trained_on"), [(20, 20), (None, 28)])
def test_a_backbone_trains_on_crops_and_is_measured_on_whole_images(
    method: str, crop_size: int | None, trained_on: int, photos: ImageDataset, tmp_path: Path, tiny_config: Configure
) -> None:
    backbone = Watched()
    config = tiny_config(method=method, grayscale=False, augment=True, crop_size=crop_size, iterations=1)
    train(
        photos, tmp_path / "run", config, backbone=backbone, validation=photos, device="cpu", micro_batch=1, bf16=False
    )
    assert backbone.in_training == {trained_on}
    assert backbone.asked - {trained_on} <= {28}
    assert 28 in backbone.asked


def test_crops_are_of_the_part_that_is_seen(tiny_config: Configure) -> None:
    config = tiny_config(grayscale=False, augment=True, crop_size=20, part=0.7)
    assert config.preprocessing == Preprocessing(28, 28, 3, part=0.7)
    assert config.augmentation.crop_sizes == (20,)


@pytest.mark.parametrize(
    "method", ["anil", *(pytest.param(name, marks=pytest.mark.slow) for name in ("reptile", "pretrain"))]
)
def test_crops_grow_over_the_training(
    method: str, photos: ImageDataset, tmp_path: Path, tiny_config: Configure
) -> None:
    backbone = Watched()
    config = tiny_config(
        method=method, grayscale=False, augment=True, first_crop_size=16, crop_size=30, iterations=6, batch_size=2
    )
    assert [config.augmentation.size_at(step / 6) for step in range(7)] == [16, 16, 24, 24, 30, 30, 30]
    train(photos, tmp_path / "run", config, backbone=backbone, device="cpu", micro_batch=2, bf16=False)
    assert backbone.in_training == {16, 24, 30}


def test_crops_do_not_shrink(tiny_config: Configure) -> None:
    for sizes, said in (
        ({"first_crop_size": 30, "crop_size": 20}, "grow from 30 pixels to 20; take a crop size above the first"),
        ({"first_crop_size": 30}, "grow from 30 pixels to no size of their own; take"),
        ({"first_crop_size": 0, "crop_size": 20}, "first_crop_size is 0; take 1 or more"),
    ):
        with pytest.raises(EdgeAdaptError, match=said):
            tiny_config(**sizes)


def train_command(*options: str) -> click.Context:
    """What the options of `train` say."""
    whole = main.make_context("edge-adapt", ["train"])
    return command_reference.command("train").make_context("train", ["data", "-o", "run", *options], parent=whole)


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [([], None, None), (["--crop-size", "64"], None, 64), (["--crop-size", "64:96"], 64, 96)],
)
def test_one_option_says_both_sizes(given: list[str], first: int | None, last: int | None) -> None:
    context = train_command(*given)
    assert (context.params["first_crop_size"], context.params["crop_size"]) == (first, last)
    assert context.get_parameter_source("first_crop_size") == context.get_parameter_source("crop_size")


@pytest.mark.parametrize("given", ["64:", ":96", "0", "-3", "48:64:96", "small"])
def test_what_is_no_size_is_said_with_what_is(given: str) -> None:
    with pytest.raises(click.BadParameter, match="is no size; give one such as 64, or two to grow between"):
        train_command(f"--crop-size={given}")


@pytest.mark.parametrize(
    ("method", "crop_size", "said"),
    [
        ("pretrain", 8, r"Conv4 fails on images of \(8, 8, 3\).*choose another .*crop size"),
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


def test_crops_on_the_way_are_tried_too(photos: ImageDataset, tmp_path: Path, tiny_config: Configure) -> None:
    config = tiny_config(grayscale=False, augment=True, first_crop_size=8, crop_size=24, iterations=1)
    with pytest.raises(EdgeAdaptError, match=r"Conv4 fails on images of \(8, 8, 3\)"):
        train(photos, tmp_path / "run", config, device="cpu")
