"""A run that memory does not suffice for goes on with less, or says what to do."""

from __future__ import annotations

import dataclasses
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
from torch import Tensor

from edge_adapt.networks.learner import Embedding
from edge_adapt.training import run as run_module
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from tests.training_runs import Configure, Small, assert_same_run, refusal, seeded, stop_at


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
            brief(config, "expected", micro_batch=4, backbone=seeded(Small))
    reached = load_checkpoint(tmp_path / "expected")
    smaller = dataclasses.replace(reached, execution=dataclasses.replace(reached.execution, micro_batch=2))
    run_module.save_checkpoint(tmp_path / "expected", smaller)
    expected = brief(config, "expected", resume=True, micro_batch=None, backbone=seeded(Small))
    with monkeypatch.context() as patch:
        stop_at(3, patch, error=MemoryError())
        assert_same_run(brief(config, micro_batch=4, backbone=seeded(Small)), expected)
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


def test_validation_goes_on_in_parts_that_fit(
    validated: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=2)
    expected = validated(config, "expected")
    embed, sizes = Embedding.forward, []

    def scarce(embedding: Embedding, images: Tensor) -> Tensor:
        sizes.append(len(images))
        if len(images) > 9:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return embed(embedding, images)

    monkeypatch.setattr(Embedding, "forward", scarce)
    assert validated(config).records[-1].validation == pytest.approx(expected.records[-1].validation, abs=1e-3)
    assert min(sizes) <= 9 < max(sizes)


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
@pytest.mark.slow
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
