"""Stopping early: training ends where validations bring nothing better, in recipes too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import Tensor

from edge_adapt.cli import train as train_command
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training.budget import is_finished, stopped_early
from edge_adapt.training.checkpoint import Checkpoint, Record, load_checkpoint
from edge_adapt.training.recipes import RECIPES, Recipe, Stage
from edge_adapt.training.validation import VALIDATIONS, out_of_patience
from tests.clock import Clock
from tests.training_runs import Configure, assert_same_weights, refusal, train_recipe


@given(st.lists(st.sampled_from([None, 0.1, 0.2, 0.3, 0.4]), max_size=30), st.integers(1, 6))
def test_patience_counts_validations_since_the_best_was_reached(accuracies: list[float | None], patience: int) -> None:
    best, waited = -1.0, 0
    for accuracy in accuracies:
        if accuracy is not None:
            best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
    records = [Record(step, step, 1, 0.5, accuracy) for step, accuracy in enumerate(accuracies)]
    assert out_of_patience(patience, records) == (waited >= patience)
    assert not out_of_patience(None, records)


@pytest.mark.parametrize("budget", [{"iterations": 10}, {"iterations": None, "minutes": 10.0}])
def test_a_run_out_of_patience_stops_and_is_finished(
    budget: dict[str, Any],
    validated: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tiny_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_adapt.training.trainer.time.monotonic", Clock())
    states = script((0.2, 0.5, 0.4, 0.5, 0.3, *(0.9,) * 20))
    config = tiny_config(patience=3, **budget)
    end = validated(config)
    assert len(states) == 5 and end.iteration == end.records[-1].iteration
    assert end.best and end.best.validation == 0.5
    assert_same_weights(end.best.learner, states[3])
    assert stopped_early(end) and is_finished(end)
    again = validated(config, resume=True)
    assert again.iteration == end.iteration and len(states) == 5
    assert_same_weights(again.learner, end.learner)


def test_a_patience_that_suffices_changes_nothing(
    validated: Callable[..., Checkpoint], script: Callable[[Sequence[float]], Any], tiny_config: Configure
) -> None:
    script((0.2, 0.5, 0.4, 0.3) * 2)
    patient, without = validated(tiny_config(iterations=4, patience=2), "patient"), validated(tiny_config(iterations=4))
    assert_same_weights(patient.learner, without.learner)
    assert not stopped_early(patient) and is_finished(
        patient
    )  # the last validation used up the patience, and the budget


def test_patience_needs_validation_classes(
    validated: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, training_data: ImageDataset
) -> None:
    said, overrides = "there are no validation classes", {"patience": 2, "image_size": 28, "grayscale": True}
    assert said in refusal(lambda: validated(tiny_config(patience=2), validation=None))
    assert said in refusal(lambda: train_recipe(training_data, tmp_path / "run", "edge", overrides=overrides))
    assert "this recipe has none" in refusal(
        lambda: train_recipe(training_data, tmp_path / "run", "conv4", overrides=overrides)
    )
    assert not (tmp_path / "run").exists()
    assert "patience is 0" in refusal(lambda: tiny_config(patience=0))


def test_the_help_of_patience_says_how_many_validations_there_are() -> None:
    (option,) = (each for each in train_command.train.params if each.name == "patience")
    assert f"a whole run has {VALIDATIONS}" in str(option.to_info_dict()["help"])


def test_a_stage_starts_from_the_best_of_the_one_before_and_patience_ends_a_stage(
    training_data: ImageDataset,
    new_classes: ImageDataset,
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stages = (
        Stage("pretrain", 0.5, {"method": "pretrain", "batch_size": 16, "iterations": 3, "learning_rate": 0.1}),
        Stage("episodes", 0.4, {"iterations": 9, "learning_rate": 0.01}),
        Stage("head", 0.1, {"method": "head-only", "iterations": 2, "steps": 2, "learning_rate": 0.1}),
    )
    shared = {"grayscale": True, "centred": True, "n_way": 4, "n_query": 3, "steps": 2, "meta_batch": 2}
    monkeypatch.setitem(RECIPES, "tiny", Recipe("for tests", shared, stages))
    states = script((*(0.1, 0.2, 0.3, 0.35), *(0.2, 0.6, 0.7, 0.5, 0.4), *(0.8, 0.1)))
    options: dict[str, Any] = {"overrides": {"patience": 2}, "validation": new_classes, "device": "cpu", "bf16": False}
    end = train_recipe(training_data, tmp_path / "run", "tiny", **options)
    classified, episodes, head = (
        load_checkpoint(tmp_path / "run" / name) for name in ("1-pretrain", "2-episodes", "3-head")
    )
    assert classified.config.patience is None and classified.exported.validation == 0.35
    assert stopped_early(episodes) and episodes.iteration == 4
    assert episodes.best and episodes.best.iteration == 2
    for name, tensor in end.learner.items():
        if name.startswith("embedding."):
            assert torch.equal(tensor, episodes.best.learner[name])
    assert head.config.patience is None and head.iteration == 2
    train_recipe(training_data, tmp_path / "run", "tiny", resume=True, **options)
    assert len(states) == 11  # every stage is finished
