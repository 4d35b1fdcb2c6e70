"""What cannot be trained is refused at once, in one sentence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.config import TrainingConfig
from tests.gratings import gratings
from tests.training_runs import Configure, refusal, train


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "mmal"},
        {"initialization": "prototypes"},
        {"image_size": 0},
        {"part": 0.05},
        {"part": 1.5},
        {"part": float("nan")},
        {"n_way": 1},
        {"n_shot": 0},
        {"n_query": 0},
        {"steps": -1},
        {"meta_batch": 0},
        {"batch_size": 10**9},
        {"iterations": 0},
        {"iterations": None, "minutes": 0.0},
        {"iterations": None, "minutes": float("nan")},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_a_configuration_that_cannot_be_is_named(changes: dict[str, Any], tiny_config: Configure) -> None:
    (name,) = (key for key in changes if key != "iterations" or len(changes) == 1)
    assert refusal(lambda: tiny_config(**changes)).startswith(f"{name} is {changes[name]!r}")


def test_the_largest_seed_trains(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert brief(tiny_config(iterations=1, seed=2**32 - 1)).iteration == 1


def test_a_budget_is_iterations_or_minutes() -> None:
    assert "give one of the two" in refusal(lambda: TrainingConfig.of(iterations=1, minutes=1.0))
    assert TrainingConfig.of().minutes == 30 and TrainingConfig.of("head-only").iterations == 200


class Raising(nn.Module):
    """A backbone that takes other images."""

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("expected 3 channels\nand a lot more")


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (Raising(), "Raising fails on images of (28, 28, 1) (H, W, C) (expected 3 channels)"),
        (nn.Conv2d(1, 4, 3), "Conv2d gives [2, 4, 26, 26] for 2 images"),
        (nn.Flatten(0), "Flatten gives [1568] for 2 images"),
    ],
)
def test_a_backbone_that_gives_no_vectors_is_named(
    backbone: nn.Module, expected: str, brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    assert expected in refusal(lambda: brief(tiny_config(), backbone=backbone))


@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_batch_norm_under_an_inner_loop_on_all_layers_is_refused(
    method: str, brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    own = nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Flatten())
    assert "use a backbone with GroupNorm" in refusal(lambda: brief(tiny_config(method=method), backbone=own))


def test_a_backbone_that_nobody_knows_is_named(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    said = refusal(lambda: brief(tiny_config(backbone="conv5")))
    assert (
        "'conv5' is not a backbone known by name (conv4, edge, lite0, lite0-small, lite2, resnet12, timm:NAME)" in said
    )


def test_data_that_does_not_fit_is_named(training_data: ImageDataset, tiny_config: Configure, tmp_path: Path) -> None:
    def start(data: ImageDataset, **options: Any) -> str:
        changes = options.pop("changes", {})
        return refusal(
            lambda: train(data, tmp_path / "run", tiny_config(**changes), device="cpu", **options), DataError
        )

    assert "17 ways need as many classes and there are 16" in start(training_data, changes={"n_way": 17})
    assert "has 10 images where an episode takes 11" in start(training_data, changes={"n_query": 10})
    small = gratings(16, 10, size=16)
    assert "was read as (16, 16, 1) and the configuration takes (28, 28, 1)" in start(small)
    assert "was read as (16, 16, 1)" in start(training_data, validation=small)
    assert "has 1 images where an episode takes 2" in start(training_data, validation=gratings(5, 1))
    assert "2 ways need as many classes and there are 1" in start(training_data, validation=gratings(1, 9))
    flat = dataclasses.replace(training_data, images=np.full_like(training_data.images, 7))
    assert "the same flat colour" in start(flat)
    assert not (tmp_path / "run").exists()


def test_classes_that_no_bundle_could_be_made_with_are_named_before_training(
    training_data: ImageDataset, tiny_config: Configure, tmp_path: Path
) -> None:
    starts = np.array([0, 1, 2, 12], np.int64)
    few = dataclasses.replace(
        training_data, images=training_data.images[:12], class_names=("a", "b", "c"), starts=starts
    )
    with pytest.raises(DataError, match=r"^gratings: 1 of the 3 classes have 2 images or more, .*; add images\.$"):
        train(few, tmp_path / "run", tiny_config(method="pretrain", batch_size=4), device="cpu", micro_batch=4)
    assert not (tmp_path / "run").exists()


def test_a_piece_must_divide_the_meta_batch(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert "a micro-batch of 3 does not divide the 2 of an outer step" in refusal(
        lambda: brief(tiny_config(), micro_batch=3)
    )


def test_a_batch_that_leaves_single_images_to_processes_is_refused(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_adapt.training.distributed.processes", lambda: 3)
    monkeypatch.setattr("edge_adapt.training.distributed.of_first", lambda compute: compute())
    monkeypatch.setattr("edge_adapt.training.distributed.copy_from_first", lambda tensors: None)
    said = refusal(lambda: brief(tiny_config(method="pretrain", batch_size=127), micro_batch=None))
    assert said.startswith("127 images in a step leave single ones to 3 processes") and said.endswith("such as 132.")


def test_one_flat_channel_is_no_flat_image(tmp_path: Path, tiny_config: Configure) -> None:
    data = gratings(6, 5)
    red = np.concatenate([data.images, np.zeros_like(data.images), np.full_like(data.images, 255)], axis=-1)
    config = tiny_config(grayscale=False, iterations=1)
    checkpoint = train(
        dataclasses.replace(data, images=red), tmp_path / "run", config, device="cpu", micro_batch=1, bf16=False
    )
    assert all(tensor.isfinite().all() for tensor in checkpoint.learner.values())


def test_cuda_that_does_not_come_up_is_named(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "this PyTorch is a CPU build" in refusal(lambda: brief(tiny_config(), device="cuda"))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "no working NVIDIA driver" in refusal(lambda: brief(tiny_config(), device="cuda"))
