"""Distillation: a student that learns the answers of a finished run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.methods.pretrain import TEMPERATURE, distillation_loss
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.recipes import RECIPES, Recipe, Stage
from edge_adapt.training.run import load_learner
from edge_adapt.training.teacher import Teacher
from tests.training_runs import train, train_recipe

SMALL: dict[str, Any] = {"grayscale": True, "centred": True, "n_way": 4, "n_query": 3, "steps": 2, "meta_batch": 2}


@pytest.fixture
def distilling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe by the name of tiny whose second stage distils the first."""
    classify = {"method": "pretrain", "batch_size": 16, "learning_rate": 0.1, "iterations": 10}
    stages = (Stage("pretrain", 0.5, classify), Stage("distil", 0.5, classify, distil=True))
    monkeypatch.setitem(RECIPES, "tiny", Recipe("for tests", SMALL, stages))


def start(data: ImageDataset, run: Path, **options: Any) -> Any:
    return train_recipe(data, run, "tiny", **{"device": "cpu", "bf16": False, **options})


def test_distillation_is_the_divergence_of_softened_answers() -> None:
    random = np.random.default_rng(0)
    ours, theirs = random.normal(size=(2, 5, 7)) * 6
    softened = [
        np.exp(each / TEMPERATURE) / np.exp(each / TEMPERATURE).sum(1, keepdims=True) for each in (ours, theirs)
    ]
    expected = (softened[1] * np.log(softened[1] / softened[0])).sum(1).mean() * TEMPERATURE**2
    assert distillation_loss(torch.tensor(ours), torch.tensor(theirs)).item() == pytest.approx(expected)
    assert distillation_loss(torch.tensor(ours), torch.tensor(ours)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.usefixtures("distilling")
def test_a_student_starts_anew_and_comes_to_answer_as_its_teacher(training_data: ImageDataset, tmp_path: Path) -> None:
    start(training_data, tmp_path)
    teacher, student = (load_checkpoint(tmp_path / name) for name in ("1-pretrain", "2-distil"))
    alone = train(training_data, tmp_path / "alone", student.config, device="cpu", micro_batch=16, bf16=False)
    images = torch.from_numpy(training_data.images)

    def answers(checkpoint: Checkpoint) -> torch.Tensor:
        tutor = Teacher(checkpoint, torch.device("cpu"))
        logits: torch.Tensor = tutor(images)
        return logits

    # The same seed, so the same start as without a teacher; the teacher makes the difference.
    to_student = distillation_loss(answers(student), answers(teacher))
    to_alone = distillation_loss(answers(alone), answers(teacher))
    assert to_student < to_alone


def test_a_teacher_sees_pixels_as_it_has_learned_to(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    dark = replace(training_data, images=training_data.images // 4)
    config = tiny_config(method="pretrain", batch_size=32, learning_rate=0.1, iterations=3)
    checkpoint = train(dark, tmp_path, config, device="cpu", micro_batch=32, bf16=False)
    learner, _ = load_learner(tmp_path)
    assert learner.embedding.mean < 0.2
    weight = torch.nn.functional.normalize(checkpoint.objective["classifier.weight"], dim=1)
    images = torch.from_numpy(training_data.images)
    with torch.no_grad():
        features = learner.embedding.backbone(learner.embedding.normalize(images))  # of a length that is learned too
    expected = (
        torch.nn.functional.normalize(features, dim=1) @ weight.T * checkpoint.objective["classifier.log_scale"].exp()
    )
    torch.testing.assert_close(Teacher(checkpoint, torch.device("cpu"))(images), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("distilling")
def test_what_cannot_teach_is_refused(
    training_data: ImageDataset, new_classes: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    def classify(run: str, data: ImageDataset, grayscale: bool = True, **options: Any) -> Checkpoint:
        config = tiny_config(method="pretrain", batch_size=32, iterations=1, grayscale=grayscale)
        return train(data, tmp_path / run, config, device="cpu", micro_batch=32, bf16=False, **options)

    episodic = train(
        training_data, tmp_path / "anil", tiny_config(iterations=1), device="cpu", micro_batch=1, bf16=False
    )
    with pytest.raises(EdgeAdaptError, match="a teacher is a run of the method pretrain, and this is one of anil"):
        classify("a", training_data, teacher=episodic)
    teacher = classify("teacher", new_classes)
    red = replace(training_data, images=np.repeat(training_data.images, 3, axis=-1))
    with pytest.raises(EdgeAdaptError, match="the teacher takes RGB images and these are grey"):
        classify("grey", training_data, teacher=classify("red", red, grayscale=False))
    with pytest.raises(EdgeAdaptError, match=r"the teacher learned other classes \(without a name\); distil one"):
        classify("b", training_data, teacher=teacher)
    with pytest.raises(EdgeAdaptError, match="the teacher knows 8 classes and there are 16 to learn"):
        classify("b", training_data, teacher=replace(teacher, provenance={}))  # of a run that noted no classes
    fewer = replace(new_classes, images=new_classes.images[1:], starts=np.maximum(new_classes.starts - 1, 0))
    assert classify("the same classes", fewer, teacher=teacher).iteration == 1
    with pytest.raises(EdgeAdaptError, match="a teacher is for the method pretrain, and this is anil"):
        train(training_data, tmp_path / "c", tiny_config(), device="cpu", teacher=teacher)


@pytest.mark.usefixtures("distilling")
@pytest.mark.slow
def test_a_teacher_from_outside_takes_the_place_of_one_of_the_recipes_own(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    config = tiny_config(method="pretrain", batch_size=32, learning_rate=0.1, iterations=30)
    teacher = train(training_data, tmp_path / "teacher", config, device="cpu", micro_batch=32, bf16=False)
    start(training_data, tmp_path / "run", teacher=teacher)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["1-distil", "origin.json", "recipe.json"]
    taught = load_checkpoint(tmp_path / "run")
    assert taught.provenance["teacher"] and start(training_data, tmp_path / "run", resume=True).iteration == 10
    with pytest.raises(EdgeAdaptError, match="was trained with a teacher, and this is another; resume with the same"):
        start(training_data, tmp_path / "run", resume=True, teacher=taught)
