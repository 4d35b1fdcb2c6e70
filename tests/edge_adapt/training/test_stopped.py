"""A run survives whatever stops it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from torch import Tensor, nn

from edge_adapt.methods.objective import query_loss
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from tests.gratings import gratings
from tests.training_runs import Configure, Small, assert_same_run, refusal, stop_at


def test_an_existing_run_is_not_written_over(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    brief(tiny_config(iterations=1))
    assert "holds a run already" in refusal(lambda: brief(tiny_config(iterations=1)))


def test_another_module_is_not_resumed(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    brief(tiny_config(iterations=1))
    brief(tiny_config(iterations=1), "own", backbone=Small())
    other = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
    assert "does not fit the backbone" in refusal(
        lambda: brief(tiny_config(iterations=1), "own", resume=True, backbone=other)
    )


def test_a_run_resumes_with_what_it_was_given_alone(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    teacher, other = (
        brief(tiny_config(method="pretrain", batch_size=8, iterations=1, seed=seed), f"teacher {seed}", micro_batch=8)
        for seed in (0, 1)
    )
    config = tiny_config(method="pretrain", batch_size=8, iterations=2, seed=2)
    brief(config, "taught", micro_batch=8, teacher=teacher)
    said = refusal(lambda: brief(config, "taught", resume=True, micro_batch=8, teacher=other))
    assert said.endswith("was trained with a teacher, and this is another; resume with the same.")
    for again in (teacher, load_checkpoint(tmp_path / "teacher 0"), None):  # that in its folder
        brief(config, "taught", resume=True, micro_batch=8, teacher=again)
    brief(config, "alone", micro_batch=8, weights=teacher)
    said = refusal(lambda: brief(config, "alone", resume=True, micro_batch=8, teacher=teacher))
    assert said.endswith("was trained without a teacher; resume without one.")
    brief(config, "alone", resume=True, micro_batch=8)
    classes, same_number = gratings(8, 9, seed=1), dataclasses.replace(gratings(8, 9), class_names=tuple("abcdefgh"))
    brief(tiny_config(iterations=1), "validated", validation=classes)
    for data, found in ((None, "on validation classes (8"), (same_number, "on other validation classes (8")):
        assert found in refusal(
            lambda data=data: brief(tiny_config(iterations=1), "validated", resume=True, validation=data)  # type: ignore[misc]
        )
    brief(tiny_config(iterations=1), "validated", resume=True, validation=classes)


def test_a_loss_that_is_not_finite_stops_the_run_and_the_last_checkpoint_stays(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, calls = tiny_config(iterations=6), iter(range(1, 99))
    whole = brief(config, "whole")
    with monkeypatch.context() as patch:

        def sometimes_nan(*arguments: Any) -> tuple[Tensor, Tensor]:
            loss, accuracy = query_loss(*arguments)
            return loss * (float("nan") if next(calls) == 2 * 4 else 1), accuracy

        patch.setattr("edge_adapt.methods.objective.query_loss", sometimes_nan)
        message = refusal(lambda: brief(config))
    assert "loss is nan at outer step 4" in message and str(tmp_path / "run") in message
    assert load_checkpoint(tmp_path / "run").iteration == 3
    assert_same_run(brief(config, resume=True), whole)


def test_a_run_stopped_in_its_first_step_is_there_to_resume(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=2)
    whole = brief(config, "whole")
    with monkeypatch.context() as patch:
        stop_at(1, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config)
    start = load_checkpoint(tmp_path / "run")
    assert (start.iteration, start.config, start.execution, len(start.records)) == (0, config, whole.execution, 0)
    assert_same_run(brief(config, resume=True), whole)


def test_a_learning_rate_that_is_absurd_is_named(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert "try a lower learning rate" in refusal(lambda: brief(tiny_config(learning_rate=1e30)))
