"""A run that moves between a CPU and a GPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from tests.training_runs import Configure, stop_at

pytestmark = pytest.mark.gpu


def test_a_run_goes_on_on_a_gpu_and_back_each_time_as_is_fastest_there(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=4, n_way=3, n_query=1)
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, device="cpu", micro_batch=1, bf16=False)
    with monkeypatch.context() as patch:
        stop_at(2, patch, micro_batches=1)
        with pytest.raises(KeyboardInterrupt):
            brief(config, resume=True)
    on_gpu = load_checkpoint(tmp_path / "run")
    assert on_gpu.iteration == 2 and on_gpu.execution.micro_batch == 2
    assert on_gpu.execution.bf16 == torch.cuda.is_bf16_supported(including_emulation=False)
    assert on_gpu.execution.device == torch.cuda.get_device_name()
    back = brief(config, resume=True, device="cpu")
    assert back.iteration == 4 and back.execution.device == "cpu"
