"""A run that was stopped goes on as if it had not been, and knows what it was given."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from torch import nn

from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training import trainer
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.compute import Execution
from edge_adapt.training.run import save_checkpoint
from edge_adapt.training.train import resume
from tests.clock import Clock
from tests.training_runs import Configure, Small, assert_same_run, refusal, seeded, stop_at, train


@pytest.mark.parametrize("method", ["anil", "maml"])
def test_a_run_interrupted_and_resumed_is_the_run_that_was_not(
    method: str, brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(method=method, iterations=9, n_way=3, steps=2, augment=True)
    module: Callable[[], nn.Module | None] = (lambda: None) if method == "anil" else Small
    whole = brief(config, "whole", backbone=seeded(module))
    with monkeypatch.context() as patch:
        stop_at(6, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, backbone=seeded(module))
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, backbone=seeded(module), resume=True)
    assert_same_run(brief(config, backbone=seeded(module), resume=True), whole)


def test_dropout_draws_the_same_numbers_after_a_resume(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From PyTorch's own generator, which is not that of the episodes.
    config = tiny_config(iterations=5)
    whole = brief(config, "whole", backbone=seeded(lambda: Small(0.5)))
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, backbone=seeded(lambda: Small(0.5)))
    assert_same_run(brief(config, backbone=seeded(lambda: Small(0.5)), resume=True), whole)


def test_a_record_of_many_steps_is_the_same_after_a_resume(
    training_data: ImageDataset, tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "RECORDS", 3)
    config = tiny_config(iterations=9)
    options: dict[str, Any] = {"device": "cpu", "micro_batch": 1, "bf16": False}
    whole = train(training_data, tmp_path / "whole", config, backbone=seeded(Small), **options)
    assert [record.iteration for record in whole.records] == [3, 6, 9]
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
        stop_at(6, patch)  # two steps of the second record are done
        with pytest.raises(KeyboardInterrupt):
            train(training_data, tmp_path / "run", config, backbone=seeded(Small), **options)
    resumed = train(training_data, tmp_path / "run", config, backbone=seeded(Small), resume=True, **options)
    assert_same_run(resumed, whole)


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from edge_adapt.training import curve
from edge_adapt.training import trainer
from edge_adapt.training import validation
from edge_adapt.training.config import TrainingConfig
from tests.gratings import gratings
from tests.training_runs import Small, seeded, train

curve.draw = lambda checkpoint: b""
trainer.CHECKPOINT_SECONDS = -1
save, saved = torch.save, 0

def save_and_be_killed(payload, stream):
    global saved
    saved += 1
    if saved == 5:  # the first is the start
        stream.write(b"half a checkpoint")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(payload, stream)

torch.save = save_and_be_killed
validation.LEAST_EPISODES = validation.MOST_EPISODES = 20
train(
    gratings(16, 10), sys.argv[1], TrainingConfig.from_dict(eval(sys.argv[2])), validation=gratings(8, 16, seed=1, turn=0.5),
    backbone=seeded(Small), device="cpu", micro_batch=1, bf16=False,
)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    brief: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset, tmp_path: Path
) -> None:
    config = tiny_config(iterations=6)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), repr(config.to_dict())]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    killed = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = load_checkpoint(tmp_path / "run")
    assert before.iteration == 3 and before.best
    resumed, whole = (
        brief(config, run, resume=True, validation=new_classes, backbone=seeded(Small)) for run in ("run", "whole")
    )
    assert_same_run(resumed, whole)


def test_a_run_whose_folder_is_lost_goes_on_where_it_is_found_again(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a drive that is pulled out and put back."""
    config, run = tiny_config(iterations=6), tmp_path / "run"
    with monkeypatch.context() as patch:

        def moved_and_saved(folder: Path, checkpoint: Checkpoint) -> None:
            if checkpoint.iteration == 4:
                run.rename(tmp_path / "elsewhere")
            save_checkpoint(folder, checkpoint)

        patch.setattr(trainer, "save_checkpoint", moved_and_saved)
        said = refusal(lambda: brief(config))
    assert (
        said == f"{run / 'checkpoint.pt'} could not be saved because the folder {run} does not exist; create it first."
    )
    (tmp_path / "elsewhere").rename(run)
    assert load_checkpoint(run).iteration == 3
    resumed, whole = (brief(config, name, resume=name == "run") for name in ("run", "whole"))
    assert_same_run(resumed, whole)


def test_a_finished_run_resumes_to_itself(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=2)
    finished = brief(config)
    stop_at(1, monkeypatch, micro_batches=1, error=AssertionError("no step is left to take"))
    assert_same_run(brief(config, resume=True), finished)


def test_a_run_goes_on_with_the_piece_and_the_precision_that_are_given(
    brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    config = tiny_config(iterations=1)
    brief(config, micro_batch=2, bf16=False)
    assert brief(config, resume=True, micro_batch=1, bf16=True).execution == Execution(1, bf16=True)
    assert brief(config, resume=True, micro_batch=None, bf16=None).execution == Execution(1, bf16=True)


def test_a_run_that_goes_on_on_another_device_is_computed_as_is_fastest_there(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=2)
    with monkeypatch.context() as patch:
        stop_at(2, patch, micro_batches=1)
        with pytest.raises(KeyboardInterrupt):
            brief(config, micro_batch=2, bf16=True)
    assert load_checkpoint(tmp_path / "run").execution == Execution(2, bf16=True)
    monkeypatch.setattr("edge_adapt.training.start.name_of", lambda device: "another")
    monkeypatch.setattr("edge_adapt.training.autotune.choose", lambda *_: Execution(1, bf16=False))
    chosen = Execution(1, bf16=False, device="another")
    assert brief(config, resume=True, micro_batch=None, bf16=None).execution == chosen
    monkeypatch.setattr("edge_adapt.training.start.name_of", lambda device: "a third")  # where nothing is left to do
    assert brief(config, resume=True, micro_batch=None, bf16=None).execution == chosen


def test_minutes_are_a_budget_over_all_stretches(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("edge_adapt.training.trainer.time.monotonic", clock)
    config = tiny_config(iterations=None, minutes=1.0)
    with monkeypatch.context() as patch:
        stop_at(4, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config)
    before = load_checkpoint(tmp_path / "run")
    clock.seconds += 10_000  # the break between two stretches does not count
    resumed = clock.seconds
    after = brief(config, resume=True)
    assert 10 < before.seconds < 60 <= after.seconds < 80
    assert clock.seconds - resumed < 80 - before.seconds
    assert after.iteration > before.iteration == 3


def test_images_and_teachers_that_came_from_no_files_are_passed_again(
    brief: Callable[..., Checkpoint], tiny_config: Configure, training_data: ImageDataset, tmp_path: Path
) -> None:
    teacher = FeatureTeacher.of_module(lambda images: images.float().mean((2, 3)), 12, grayscale=True, name="rows")
    config = tiny_config(method="distil", batch_size=8, iterations=1)
    whole = brief(config, micro_batch=8, teacher=teacher, cache=tmp_path / "cache")
    assert "came from no files; pass them again as `data`" in refusal(lambda: resume(tmp_path / "run"))
    assert "this is none" in refusal(lambda: resume(tmp_path / "run", data=training_data))
    assert_same_run(resume(tmp_path / "run", data=training_data, teacher=teacher), whole)
