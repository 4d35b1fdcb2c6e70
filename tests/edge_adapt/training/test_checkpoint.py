"""A checkpoint is whole, finite and of this version, or it is named."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint, read_payload, write_payload
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


def _written(value: Any) -> bytes:
    stream = io.BytesIO()
    write_payload(stream, value)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "is damaged", id="cut off"),
        pytest.param(lambda data: b"", "is damaged", id="empty"),
        pytest.param(lambda data: b"not a checkpoint", "is damaged", id="text"),
        pytest.param(lambda data: _written(Path("not plain data")), "is damaged", id="code"),
        pytest.param(lambda data: _written([1, 2]), "has version None", id="another object"),
        pytest.param(
            lambda data: _written({"version": 99}),
            "version 99; this edge-adapt reads version 2",
            id="another version",
        ),
        pytest.param(lambda data: _written({"version": 2}), "lacks a part ('config')", id="without parts"),
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


def test_every_flipped_bit_and_every_cut_is_noticed(trained_run: Path, tmp_path: Path) -> None:
    whole = (trained_run / "checkpoint.pt").read_bytes()
    draw, path = random.Random(0), tmp_path / "checkpoint.pt"
    for trial in range(200):
        data, at = bytearray(whole), draw.randrange(len(whole))
        if trial % 4:
            data[at] ^= 1 << draw.randrange(8)
        else:
            del data[at:]
        path.write_bytes(data)
        with pytest.raises(EdgeAdaptError, match="is damaged and cannot be read"):
            read_payload(path)


def _paths(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value, of a list the first alone."""
    children = (
        tree.items() if isinstance(tree, dict) else enumerate(tree[:1]) if isinstance(tree, (list, tuple)) else ()
    )
    return [above] * bool(above) + [path for key, child in children for path in _paths(child, (*above, key))]


def _with(tree: Any, path: tuple[Any, ...], *value: Any) -> Any:
    """A copy with this value at the path, or without any there."""
    tree = copy.deepcopy(tree)
    tree["records"], tree["window"] = [[*row] for row in tree["records"]], [[*row] for row in tree["window"]]
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    if value:
        holder[path[-1]] = value[0]
    else:
        del holder[path[-1]]
    return tree


LIES: tuple[Any, ...] = (None, True, -1, 0.5, "x", [], {}, {"a": [1]}, torch.zeros(3, 1, 4), [[1]])


@pytest.mark.parametrize("count", [50, pytest.param(250, marks=pytest.mark.slow)])
def test_lies_are_one_sentence_or_none(
    count: int, brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    config, run = tiny_config(iterations=2), tmp_path / "run"
    brief(config, backbone=Small())
    path, refused = run / "checkpoint.pt", 0
    payload = read_payload(path)
    places = [place for place in _paths(payload) if place[:2] != ("optimizer", "state") or place[2:3] in ((), (0,))]
    lies = [(place, index) for place in places if "betas" not in place[:-1] for index in range(len(LIES) + 1)]
    draw = random.Random(0)
    for place, index in draw.sample(lies, count):
        path.write_bytes(_written(_with(payload, place, *LIES[index : index + 1])))
        try:
            load_learner(run, Small())
            if place[0] == "optimizer":
                brief(config, backbone=Small(), resume=True)
        except EdgeAdaptError as error:
            refused += 1
            assert str(error).endswith(".") and "\n" not in str(error), error
    assert refused > 0.6 * count
