"""A recipe that was stopped goes on as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training import stage, trainer
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.recipes import RECIPES, Recipe, Stage
from tests.training_runs import assert_same_run, refusal, train_recipe


@pytest.fixture(autouse=True)
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of two stages, which writes a checkpoint after each outer step."""
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stages = (
        Stage("pretrain", 0.9, {"method": "pretrain", "batch_size": 16, "iterations": 3, "learning_rate": 0.1}),
        Stage("head", 0.1, {"method": "head-only", "iterations": 2, "steps": 2, "learning_rate": 0.1}),
    )
    shared = {"grayscale": True, "centred": True, "n_way": 4, "n_query": 3}
    monkeypatch.setitem(RECIPES, "tiny", Recipe("for tests", shared, stages))


def go(data: ImageDataset, run: Path, **options: Any) -> Checkpoint:
    return train_recipe(data, run, "tiny", **{"device": "cpu", "bf16": False, "resume": True, **options})


def stop(*_: object) -> None:
    """Ctrl-C."""
    raise KeyboardInterrupt


def test_features_are_centred_though_it_was_stopped_before(
    training_data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = go(training_data, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "centre", stop)
        go(training_data, tmp_path / "run")
    assert_same_run(go(training_data, tmp_path / "run"), whole)
    for run in ("whole", "run"):
        assert load_checkpoint(tmp_path / run / "1-pretrain").learner["embedding.centring.mean"].any()


def test_a_stage_that_follows_needs_the_validation_classes_of_those_before(
    training_data: ImageDataset, new_classes: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("edge_adapt.methods.head_only.EpisodeSampler", stop)
        go(training_data, tmp_path, validation=new_classes)
    assert load_checkpoint(tmp_path / "1-pretrain").iteration == 3
    said = refusal(lambda: go(training_data, tmp_path))
    assert str(tmp_path / "1-pretrain") in said and said.endswith("resume with the same.")
    assert go(training_data, tmp_path, validation=new_classes).validated_on


def test_a_teacher_from_outside_is_found_again_and_no_other_takes_its_place(
    training_data: ImageDataset, tmp_path: Path
) -> None:
    go(training_data, tmp_path / "first")
    teacher = load_checkpoint(tmp_path / "first" / "1-pretrain")
    go(training_data, tmp_path / "taught", teacher=teacher)
    go(training_data, tmp_path / "taught", teacher=teacher)
    go(training_data, tmp_path / "taught")  # it knows where its teacher lies
    other = load_checkpoint(tmp_path / "taught" / "1-pretrain")
    said = refusal(lambda: go(training_data, tmp_path / "taught", teacher=other))
    assert said == f"{tmp_path / 'taught'} was trained with a teacher, and this is another; resume with the same."
    said = refusal(lambda: go(training_data, tmp_path / "first", teacher=teacher))
    assert said.endswith("was trained without a teacher; resume without one.")


def test_features_lie_where_the_cache_is_to_be(training_data: ImageDataset, tmp_path: Path) -> None:
    go(training_data, tmp_path / "run", cache=tmp_path / "here")
    assert [path.suffix for path in (tmp_path / "here").iterdir()] == [".npy"]
    assert not (tmp_path / "cache").exists()
