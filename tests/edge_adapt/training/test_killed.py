"""A training that is killed twenty times, at random moments, ends with the weights of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.training import curve, trainer
from edge_adapt.training.checkpoint import load_checkpoint
from edge_adapt.training.config import TrainingConfig
from tests.gratings import gratings
from tests.training_runs import train

KILLS = 20
CONFIG = TrainingConfig.of(
    grayscale=True, n_way=5, n_query=3, steps=3, meta_batch=4, learning_rate=0.003, augment=True, iterations=200
)


def start(run: Path) -> int:
    """Train in a process of its own, which has PyTorch already; returns its number."""
    process = os.fork()
    if not process:
        train(gratings(16, 10), run, CONFIG, device="cpu", micro_batch=2, bf16=False, resume=True)
        os._exit(0)
    return process


def main(folder: Path) -> None:
    """Train without a break, then with kills; print how far each stretch came."""
    torch.set_num_threads(1)
    curve.draw = lambda checkpoint: b""
    trainer.CHECKPOINT_SECONDS = 0
    began = time.monotonic()
    process = start(folder / "whole")
    while not (folder / "whole" / "checkpoint.pt").exists():
        assert os.waitpid(process, os.WNOHANG) == (0, 0), "it ended before its first checkpoint"
        time.sleep(0.01)
    first = time.monotonic() - began
    assert os.waitpid(process, 0) == (process, 0)
    latest = (
        first + (time.monotonic() - began - first) / KILLS
    )  # that often, even the latest moment does not reach the end
    moments = random.Random(0)
    for _ in range(KILLS):
        process = start(folder / "killed")
        time.sleep(moments.uniform(0, latest))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "it had ended already"
        checkpoint = folder / "killed" / "checkpoint.pt"
        print(load_checkpoint(folder / "killed").iteration if checkpoint.exists() else 0, flush=True)
    process = start(folder / "killed")
    assert os.waitpid(process, 0) == (process, 0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_a_training_killed_twenty_times_is_bit_for_bit_the_one_that_was_not(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.edge_adapt.training.test_killed", str(tmp_path)]
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    reached = [int(line) for line in ended.stdout.split()]
    print("outer steps behind at each kill:", reached)
    assert len(reached) == KILLS and reached == sorted(reached) and 0 < reached[-1] < (CONFIG.iterations or 0)
    whole, killed = load_checkpoint(tmp_path / "whole"), load_checkpoint(tmp_path / "killed")
    assert killed.iteration == whole.iteration == CONFIG.iterations
    for name, expected in whole.learner.items():
        assert torch.equal(killed.learner[name], expected), name
    for number, expected in whole.optimizer["state"].items():
        for name, tensor in expected.items():
            assert torch.equal(killed.optimizer["state"][number][name], tensor), (number, name)
    for ours, theirs in zip(killed.records, whole.records, strict=True):
        assert (ours.iteration, ours.loss, ours.accuracy) == (theirs.iteration, theirs.loss, theirs.accuracy)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
