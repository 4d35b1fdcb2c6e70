"""Training with centred features, and without: what is fitted to the training images, and when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.methods.method import CENTRED_SCALE
from edge_adapt.networks.backbones import Edge
from edge_adapt.networks.backbones.layers import Part
from edge_adapt.networks.learner import Centring
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner
from tests.training_runs import train


def test_classification_ends_with_centred_features(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    config = tiny_config(method="pretrain", batch_size=32, learning_rate=0.1, iterations=5, centred=True)
    train(training_data, tmp_path, config, device="cpu", micro_batch=32, bf16=False)
    learner, _ = load_learner(tmp_path)
    with torch.no_grad():
        images = torch.from_numpy(training_data.images)
        raw = learner.embedding.backbone(learner.embedding.normalize(images))
        features = learner.embed(images)
    labels = torch.arange(len(training_data.class_names)).repeat_interleave(torch.from_numpy(training_data.counts))
    expected = Centring(raw.shape[1])
    expected.fit(raw, labels, [Part(raw.shape[1], 1.0)])
    with torch.no_grad():
        assert torch.allclose(features, expected(raw), atol=1e-4)


def test_each_part_of_centred_features_varies_as_much_as_its_weight_says(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    config = tiny_config(
        method="pretrain", backbone="edge", batch_size=8, learning_rate=0.1, iterations=1, centred=True, image_size=28
    )
    checkpoint = train(training_data, tmp_path, config, device="cpu", micro_batch=8, bf16=False)
    assert checkpoint.objective["classifier.weight"].shape[1] == Edge.parts[0].size
    learner, _ = load_learner(tmp_path)
    centring = learner.embedding.centring
    assert centring is not None
    with torch.no_grad():
        raw = learner.embedding.backbone(learner.embedding.normalize(torch.from_numpy(training_data.images)))
        differences = (raw**0.8 - centring.mean) * centring.scale
    for part, values in zip(Edge.parts, differences.split([part.size for part in Edge.parts], dim=1), strict=True):
        assert values.square().sum(1).mean().sqrt().item() == pytest.approx(part.weight, rel=1e-3)


def test_features_that_are_not_centred_are_the_last_layers_alone(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    config = tiny_config(backbone="edge", image_size=28, iterations=1, centred=False)
    train(training_data, tmp_path, config, device="cpu", micro_batch=2, bf16=False)
    learner, _ = load_learner(tmp_path)
    images = torch.from_numpy(training_data.images[:4])
    with torch.no_grad():
        raw = learner.embedding.backbone(learner.embedding.normalize(images))
        assert torch.equal(learner.embed(images), raw[:, : Edge.parts[0].size])


def test_a_run_that_starts_from_one_without_centring_may_centre_its_features(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    options: dict[str, Any] = {"device": "cpu", "micro_batch": 2, "bf16": False}
    plain = tiny_config(backbone="edge", image_size=28, iterations=1, centred=False)
    first = train(training_data, tmp_path / "plain", plain, **options)
    config = replace(plain, centred=True, learning_rate=1e-9)
    train(training_data, tmp_path / "centred", config, weights=first, **options)
    learner, _ = load_learner(tmp_path / "centred")
    with torch.no_grad():
        images = torch.from_numpy(training_data.images)
        raw = learner.embedding.backbone(learner.embedding.normalize(images))
        mean = (raw**0.8).mean(0)
    for name, tensor in learner.embedding.backbone.named_parameters():
        torch.testing.assert_close(tensor, first.learner[f"embedding.backbone.{name}"])
    assert learner.embedding.centring is not None
    # Running statistics moved a little in the step that followed.
    torch.testing.assert_close(learner.embedding.centring.mean, mean, rtol=0.1, atol=0.1)
    assert float(learner.head.state_dict()["log_scale"].exp()) == pytest.approx(CENTRED_SCALE)
