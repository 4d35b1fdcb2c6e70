"""A checkpoint is whole, finite and of this version, or it is named."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.run import load_learner, load_sample
from tests.training_runs import Configure, Small, refusal


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
