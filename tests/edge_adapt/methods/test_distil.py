"""Distillation of features: what a student learns from its teachers."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch
from torch import Tensor, nn

from edge_adapt.methods import distil
from edge_adapt.methods.distil import Distillation
from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.protonet import ProtoNet
from edge_adapt.methods.stored_crops import features_of_crops, stored_crops
from edge_adapt.networks.backbones import lite
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import Reading, Start, drawing_from
from tests.edge_adapt.methods.test_stored_crops import DRAWINGS, PHOTOS, Means, taught_by
from tests.training_runs import Configure, Small, assert_same_run, refusal, seeded, train

CPU = torch.device("cpu")


class Backbone(nn.Module):
    """The network of a teacher as a student's, on normalized images."""

    def __init__(self, module: Means) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.module(255 * images.permute(0, 2, 3, 1))
        return features


def test_the_cosine_of_a_student_that_is_a_linear_map_from_its_teachers_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, last = Means(1), nn.Linear(12, 5)
    teachers = [taught_by(nn.Sequential(network, last), True, 28), taught_by(Means(1, seed=3), True, 28)]
    config = TrainingConfig.of(method="distil", grayscale=True, augment=True, batch_size=64, teacher_crops=3)
    embedding = Embedding(Backbone(network), torch.zeros(1), torch.ones(1))
    learner = MetaLearner(embedding, ProtoNet().head(12, centred=False))
    start, reading = Start(teacher=teachers), Reading(cache=str(tmp_path))
    drawing = drawing_from(ImageSampler(DRAWINGS, CPU), config, start, reading)
    objective = config.method.objective(learner, drawing)
    assert isinstance(objective, Distillation)
    objective.prepare(learner)
    features = features_of_crops(teachers[0], DRAWINGS, stored_crops(DRAWINGS, 3), tmp_path)
    own = objective.regressions[0]
    assert isinstance(own, nn.Linear)
    with torch.no_grad():
        own.weight.copy_(last.weight)
        own.bias.copy_(last.bias - torch.from_numpy(np.concatenate(features).mean(0, dtype=np.float32)))
    found: list[float] = []

    def noted(features: Tensor, target: Tensor) -> Tensor:
        found.append(cosine(features, target).item())
        return cosine(features, target)

    cosine = distil.cosine_distance
    monkeypatch.setattr(distil, "cosine_distance", noted)
    loss, _ = objective.loss(learner, 64)
    assert found[0] < 1e-3 and found[1] > 0.1
    loss.backward()  # type: ignore[no-untyped-call]
    assert own.weight.grad is not None


def test_what_is_all_about_features_learns_nothing_about_classes(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    teacher, starts = taught_by(Means(1), True), []
    for iterations in (1, 3):
        config = distilling(tiny_config, iterations=iterations, teacher_share=1.0)
        end = brief(config, str(iterations), teacher=teacher, micro_batch=16, cache=tmp_path / "cache")
        starts.append(end.objective["classifier.log_scale"])  # which no decay of weights moves far
    assert starts[0] == pytest.approx(starts[1].item(), abs=1e-3)
    with pytest.raises(EdgeAdaptError, match=r"^teacher_share is 1.1; take a number above 0, up to 1.$"):
        distilling(tiny_config, teacher_share=1.1)


def distilling(tiny_config: Configure, **changes: Any) -> TrainingConfig:
    return tiny_config(
        **{"method": "distil", "batch_size": 16, "iterations": 4, "augment": True, "learning_rate": 0.1, **changes}
    )


def test_a_student_comes_to_say_what_its_teacher_says(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Configure
) -> None:
    teacher = taught_by(Means(1), True)
    losses = []
    for iterations in (1, 60):
        config = distilling(tiny_config, iterations=iterations, centred=True)
        end = train(
            training_data, tmp_path / str(iterations), config,
            teacher=teacher, cache=tmp_path / "cache", backbone=seeded(Small), device="cpu", micro_batch=16, bf16=False,
        )  # fmt: skip
        losses.append(end.records[-1].loss)
    assert losses[1] < losses[0] * 0.7
    assert end.learner["embedding.centring.mean"].abs().max() > 0  # fitted at its end
    assert set(end.objective) == {
        "classifier.weight", "classifier.log_scale", "regressions.0.weight", "regressions.0.bias"
    }  # fmt: skip


@pytest.mark.parametrize("pretrained", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_published_statistics_stay_and_the_backbone_learns_slower(
    pretrained: bool, tmp_path: Path, tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    published = lite.Lite(3).state_dict()
    monkeypatch.setattr(lite, "published_state", lambda size: published)
    config = distilling(
        tiny_config, backbone="lite0-small", pretrained=pretrained, grayscale=False, image_size=32, iterations=1, batch_size=8
    )  # fmt: skip
    photos = dataclasses.replace(PHOTOS, images=PHOTOS.images[:, :32, :32].repeat(2, 1).repeat(2, 2)[:, :32, :32])
    end = train(
        photos, tmp_path / "run", config,
        teacher=taught_by(Means()), cache=tmp_path / "cache", device="cpu", micro_batch=8, bf16=False,
    )  # fmt: skip
    mean = "blocks.3.look.normalization.running_mean"
    assert torch.equal(end.learner[f"embedding.backbone.{mean}"], published[mean]) == pretrained
    backbone, own = end.optimizer["param_groups"]
    share = distil.PRETRAINED_SHARE if pretrained else distil.BACKBONE_SHARE
    assert backbone["lr"] == pytest.approx(share * own["lr"]) and own["lr"] > 0


def test_a_run_that_goes_on_with_the_same_teachers_ends_as_if_it_had_not_stopped(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, teachers = distilling(tiny_config), [taught_by(Means(1, seed=seed), True) for seed in (0, 1)]
    options: dict[str, Any] = {"micro_batch": 8, "cache": tmp_path / "cache"}
    whole = brief(config, "whole", teacher=teachers, **options)
    cosine, calls = distil.cosine_distance, iter(range(99))

    def interrupted(features: Tensor, target: Tensor) -> Tensor:
        if next(calls) == 2 * 2 * 2:  # teachers, micro-batches, steps
            raise KeyboardInterrupt
        return cosine(features, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distil, "cosine_distance", interrupted)
        brief(config, teacher=teachers, **options)
    assert load_checkpoint(tmp_path / "run").iteration == 2
    shutil.rmtree(tmp_path / "cache")
    for others, found in (((), "none"), (teachers[:1], "another"), (teachers[::-1], "another")):
        said = refusal(lambda others=others: brief(config, teacher=others, resume=True, **options))  # type: ignore[misc]
        assert f"this is {found}" in said
    assert_same_run(brief(config, teacher=teachers, resume=True, **options), whole)


def test_without_augmentation_the_teacher_sees_whole_images(
    brief: Callable[..., Checkpoint], tiny_config: Configure, training_data: ImageDataset, tmp_path: Path
) -> None:
    module = Means(1)
    teacher = taught_by(module, True)
    tried = module.images
    brief(
        distilling(tiny_config, augment=False, iterations=1), teacher=teacher, micro_batch=16, cache=tmp_path / "cache"
    )
    assert module.images - tried == len(training_data.images)


def test_crops_of_photos_may_grow_while_the_teacher_sees_its_own_size(tmp_path: Path, tiny_config: Configure) -> None:
    config = distilling(tiny_config, grayscale=False, first_crop_size=20, crop_size=28, iterations=2, batch_size=8)
    end = train(
        PHOTOS, tmp_path / "run", config,
        teacher=taught_by(Means()), cache=tmp_path / "cache", device="cpu", micro_batch=8, bf16=False,
    )  # fmt: skip
    assert end.iteration == 2


def test_what_cannot_teach_features_is_refused(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    teacher, config = taught_by(Means(1), True), distilling(tiny_config, iterations=1)
    assert "distil learns the features of a teacher, and there is none; give a bundle" in refusal(lambda: brief(config))
    run = brief(tiny_config(method="pretrain", batch_size=8, iterations=1), "run", micro_batch=8)
    assert "give the bundle that it exports" in refusal(lambda: brief(config, "a", teacher=run))
    for method in ("pretrain", "anil"):
        said = refusal(lambda method=method: brief(tiny_config(method=method), "b", teacher=teacher))  # type: ignore[misc]
        assert said.startswith(f"a teacher of features is for the method distil, and this is {method}")
    with pytest.raises(EdgeAdaptError, match="the teacher Means takes grey images and these are RGB; take one of RGB"):
        train(PHOTOS, tmp_path / "c", distilling(tiny_config, grayscale=False), teacher=teacher, device="cpu")
    with pytest.raises(EdgeAdaptError, match="teacher_crops is not for the method pretrain"):
        tiny_config(method="pretrain", teacher_crops=3)
