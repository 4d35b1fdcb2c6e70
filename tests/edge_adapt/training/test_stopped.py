"""A run survives whatever stops it."""

from __future__ import annotations

import dataclasses
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt.methods.objective import query_loss
from edge_adapt.training import run as run_module
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.run import load_learner, load_sample
from tests.gratings import gratings
from tests.training_runs import Configure, Small, assert_same_run, refusal, stop_at


def test_an_existing_run_is_not_written_over(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    brief(tiny_config(iterations=1))
    assert "holds a run already" in refusal(lambda: brief(tiny_config(iterations=1)))


def test_other_settings_or_another_module_are_not_resumed(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    brief(tiny_config(iterations=1))
    for changes in ({"seed": 1}, {"iterations": 2}, {"method": "fomaml"}, {"learning_rate": 0.1}):
        config = tiny_config(**{"iterations": 1, **changes})
        assert "other settings" in refusal(lambda config=config: brief(config, resume=True))  # type: ignore[misc]
    assert "other settings" in refusal(lambda: brief(tiny_config(iterations=1), resume=True, backbone=Small()))
    brief(tiny_config(iterations=1), "own", backbone=Small())
    other = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
    (tmp_path / "own" / "recipe.json").write_text("{}")
    assert "holds the stages of a recipe" in refusal(
        lambda: brief(tiny_config(iterations=1), "own", resume=True, backbone=Small())
    )
    (tmp_path / "own" / "recipe.json").unlink()
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
    for found, given in (("this is another", other), ("this is none", None)):
        said = refusal(lambda given=given: brief(config, "taught", resume=True, micro_batch=8, teacher=given))  # type: ignore[misc]
        assert found in said and said.endswith("resume with the same --teacher.")
    brief(config, "taught", resume=True, micro_batch=8, teacher=load_checkpoint(tmp_path / "teacher 0"))
    brief(config, "alone", micro_batch=8, weights=teacher)
    said = refusal(lambda: brief(config, "alone", resume=True, micro_batch=8, teacher=teacher))
    assert said.endswith("was trained without a teacher; resume without --teacher.")
    brief(config, "alone", resume=True, micro_batch=8)
    brief(config, "alone", resume=True, micro_batch=8, weights=teacher)
    assert "did not start from these weights" in refusal(
        lambda: brief(config, "alone", resume=True, micro_batch=8, weights=other)
    )
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
    assert "settings (seed 0, not 1)" in refusal(lambda: brief(tiny_config(iterations=2, seed=1), resume=True))
    assert_same_run(brief(config, resume=True), whole)


def test_a_run_that_needs_too_much_memory_may_go_on_with_less(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(method="maml", steps=2, iterations=2)
    whole = brief(config, "whole", backbone=Small())
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, backbone=Small())
    ended = brief(config.changed(recompute=True), resume=True, backbone=Small())
    assert ended.iteration == 2 and ended.config.method == config.changed(recompute=True).method
    for name, tensor in whole.learner.items():
        torch.testing.assert_close(ended.learner[name], tensor)


def test_weights_that_are_not_finite_never_reach_a_checkpoint(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = torch.optim.Adam.step, iter(range(1, 99))

    def overflow(self: torch.optim.Adam, *arguments: Any) -> Any:
        step(self, *arguments)
        if next(calls) == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(float("inf"))

    monkeypatch.setattr(torch.optim.Adam, "step", overflow)
    assert "a weight is not finite at outer step 3" in refusal(lambda: brief(tiny_config(iterations=3)))
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.iteration == 2
    assert all(tensor.isfinite().all() for tensor in checkpoint.learner.values())


def test_a_lack_of_memory_halves_the_piece_and_takes_the_step_anew(
    brief: Callable[..., Checkpoint],
    tiny_config: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny_config(iterations=5, meta_batch=8, augment=True)
    with monkeypatch.context() as patch:
        stop_at(3, patch)  # of two micro-batches of four, the second
        with pytest.raises(KeyboardInterrupt):
            brief(config, "expected", micro_batch=4)
    reached = load_checkpoint(tmp_path / "expected")
    smaller = dataclasses.replace(reached, execution=dataclasses.replace(reached.execution, micro_batch=2))
    run_module.save_checkpoint(tmp_path / "expected", smaller)
    expected = brief(config, "expected", resume=True, micro_batch=None)
    with monkeypatch.context() as patch:
        stop_at(3, patch, error=MemoryError())
        assert_same_run(brief(config, micro_batch=4), expected)
    assert load_checkpoint(tmp_path / "run").execution.micro_batch == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["memory does not suffice for 4 episodes at once; going on with 2"]


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({}, "a single episode; choose a smaller --way, --shot or --query."),
        ({"method": "maml"}, "a single episode; choose a smaller --way, --shot or --query, or take --recompute."),
        ({"method": "maml", "recompute": True}, "a single episode; choose a smaller --way, --shot or --query."),
    ],
    ids=["anil", "maml", "maml --recompute"],
)
def test_memory_for_not_even_one_episode_is_said_with_what_to_do(
    changes: dict[str, Any],
    remedy: str,
    brief: Callable[..., Checkpoint],
    tiny_config: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config(iterations=3, **changes)
    stop_at(2, monkeypatch, error=torch.OutOfMemoryError("CUDA out of memory."))
    assert refusal(lambda: brief(config, backbone=Small())).endswith(remedy)
    assert load_checkpoint(tmp_path / "run").iteration == 1


SCARCE = """
import resource, sys
import torch
torch.set_num_threads(1)
from edge_adapt.training import curve
from tests.training_runs import train
from edge_adapt.methods.objective import Episodic
from edge_adapt.training.config import TrainingConfig
from tests.gratings import gratings

curve.draw = lambda checkpoint: b""
data, config = gratings(16, 10), TrainingConfig.from_dict(eval(sys.argv[2]))
accumulate, calls = Episodic.accumulate, 0

def scarce(self, learner, count, share, spent=0.0):
    global calls
    calls += 1
    if calls == 2:  # the first outer step has taken what it needs, and gave it back
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 40 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return accumulate(self, learner, count if calls > 1 else 1, share, spent)

Episodic.accumulate = scarce
end = train(data, sys.argv[1], config, device="cpu", micro_batch=64, bf16=False)
print(end.iteration, end.execution.micro_batch)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_a_process_with_little_memory_goes_on_with_smaller_pieces(tiny_config: Configure, tmp_path: Path) -> None:
    config = tiny_config(iterations=2, meta_batch=64)
    command = [sys.executable, "-c", SCARCE, str(tmp_path / "run"), repr(config.to_dict())]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    iteration, micro_batch = map(int, ended.stdout.split())
    assert iteration == 2 and micro_batch in (1, 2, 4, 8, 16, 32)
    halvings = [line for line in ended.stderr.splitlines() if line.startswith("memory does not suffice for")]
    assert len(halvings) == np.log2(64 / micro_batch)
    assert load_checkpoint(tmp_path / "run").execution.micro_batch == micro_batch


def test_a_learning_rate_that_is_absurd_is_named(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert "try a lower learning rate" in refusal(lambda: brief(tiny_config(learning_rate=1e30)))


def test_a_failed_write_leaves_the_old_checkpoint(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=2)
    brief(config)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def fail(payload: object, stream: Any) -> None:
        stream.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    assert "the disk is full" in refusal(lambda: brief(config, resume=True))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def _torch_bytes(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "is damaged", id="cut off"),
        pytest.param(lambda data: b"", "is damaged", id="empty"),
        pytest.param(lambda data: b"not a checkpoint", "is damaged", id="text"),
        pytest.param(lambda data: _torch_bytes(Path("not plain data")), "is damaged", id="code"),
        pytest.param(lambda data: _torch_bytes([1, 2]), "has version None", id="another object"),
        pytest.param(
            lambda data: _torch_bytes({"version": 99}),
            "version 99; this edge-adapt reads version 1",
            id="another version",
        ),
        pytest.param(lambda data: _torch_bytes({"version": 1}), "lacks a part ('config')", id="without parts"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_named(
    damage: Callable[[bytes], bytes], expected: str, trained_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage((trained_run / "checkpoint.pt").read_bytes()))
    message = refusal(lambda: load_learner(tmp_path))
    assert expected in message and str(path) in message


def test_a_folder_without_a_run_or_sample_is_named(tmp_path: Path) -> None:
    assert "there is no checkpoint.pt" in refusal(lambda: load_checkpoint(tmp_path))
    assert "sample.npz is missing or damaged" in refusal(lambda: load_sample(tmp_path))
    (tmp_path / "sample.npz").write_bytes(b"PK")
    assert "sample.npz is missing or damaged" in refusal(lambda: load_sample(tmp_path))


def test_a_run_is_not_loaded_into_another_module(trained_run: Path) -> None:
    assert "does not fit the backbone" in refusal(lambda: load_learner(trained_run, Small()))
