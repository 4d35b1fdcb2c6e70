"""Tasks travel without their model, and come out as what was packed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edge_adapt
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.errors import BundleError
from tests import bundle_samples as samples
from tests.command_line import edge_adapt as command
from tests.command_line import succeeded
from tests.conftest import TINY
from tests.tiny_model import photos, refusal, variant
from tests.value_photos import write_table


@pytest.fixture
def packed(classifier: Classifier, tmp_path: Path) -> Path:
    classifier.add("d", photos({"d": 2})["d"]).save(tmp_path / "mine.edge")
    edge_adapt.pack(tmp_path / "mine.edge", tmp_path / "mine.task")
    return tmp_path / "mine.task"


def test_what_was_packed_comes_out_byte_for_byte(packed: Path, tmp_path: Path) -> None:
    edge_adapt.unpack(packed, tmp_path / "again.edge", model=TINY)
    assert (tmp_path / "again.edge").read_bytes() == (tmp_path / "mine.edge").read_bytes()
    mine = edge_adapt.load_classifier(tmp_path / "mine.edge")
    graphs = sum(size for name, size in mine.graphs.bundle.sizes.items() if name.endswith(".onnx"))
    assert packed.stat().st_size < (tmp_path / "mine.edge").stat().st_size - graphs


def test_the_commands_do_the_same(packed: Path, tmp_path: Path) -> None:
    assert "Saved" in succeeded(command("pack", tmp_path / "mine.edge", "-o", tmp_path / "a.task"))
    assert (tmp_path / "a.task").read_bytes() == packed.read_bytes()
    succeeded(command("unpack", packed, "-o", tmp_path / "a.edge", "--model", TINY))
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "mine.edge").read_bytes()


def test_a_task_of_a_bundled_model_finds_it(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "none of the bundled models" in refusal(lambda: edge_adapt.unpack(packed, tmp_path / "a.edge"), BundleError)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.edge").write_bytes(TINY.read_bytes())
    monkeypatch.setattr("edge_adapt.runtime.model.MODELS", tmp_path / "models")
    edge_adapt.unpack(packed, tmp_path / "a.edge")
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "mine.edge").read_bytes()


def test_a_regressor_travels_without_the_model_that_it_was_made_with(tmp_path: Path) -> None:
    table = write_table(tmp_path / "photos", np.linspace(0.1, 0.8, 5))
    edge_adapt.regress(table, model=TINY).save(tmp_path / "tank.edge")
    edge_adapt.pack(tmp_path / "tank.edge", tmp_path / "tank.task")
    edge_adapt.unpack(tmp_path / "tank.task", tmp_path / "again.edge", model=TINY)
    assert (tmp_path / "again.edge").read_bytes() == (tmp_path / "tank.edge").read_bytes()


def test_another_model_is_refused(packed: Path, tmp_path: Path) -> None:
    bundle = edge_adapt.load_model(TINY).graphs.bundle
    graphs = bundle.graphs()
    for other in (
        variant(tmp_path / "graphs.edge", graphs={**graphs, "predict.onnx": graphs["adapt.onnx"]}, golden=None),
        variant(tmp_path / "manifest.edge", default_steps=4),
    ):
        message = refusal(lambda other=other: edge_adapt.unpack(packed, tmp_path / "a.edge", model=other), BundleError)  # type: ignore[misc]
        assert "is a task of another model" in message and not (tmp_path / "a.edge").exists()


def test_a_damaged_task_is_refused_and_nothing_written(packed: Path, tmp_path: Path) -> None:
    data = packed.read_bytes()
    for position in range(0, len(data), 97):
        damaged = bytearray(data)
        damaged[position] ^= 0x20
        packed.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"mine\.task"):
            edge_adapt.unpack(packed, tmp_path / "a.edge", model=TINY)
    assert not (tmp_path / "a.edge").exists()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"format_version": 9}, "format version 9"),
        ({"manifest": {}}, '"manifest" that is not a SHA-256'),
        ({"model": 3}, '"model"'),
        ({"more": 1}, "unknown key"),
    ],
)
def test_a_task_that_the_format_does_not_allow(
    packed: Path, tmp_path: Path, changes: dict[str, object], fault: str
) -> None:
    entries = samples.read_zip(packed)
    entries["task.json"] = json.dumps(json.loads(entries["task.json"]) | changes).encode()
    packed.write_bytes(samples.zip_bytes(entries))
    assert fault in refusal(lambda: edge_adapt.unpack(packed, tmp_path / "a.edge", model=TINY), BundleError)


def test_what_is_no_task_or_no_classifier(packed: Path, tmp_path: Path) -> None:
    message = refusal(lambda: edge_adapt.unpack(tmp_path / "mine.edge", tmp_path / "a.edge", model=TINY), BundleError)
    assert "is not a task" in message
    assert "knows no classes yet" in refusal(lambda: edge_adapt.pack(TINY, tmp_path / "a.task"), BundleError)
    entries = samples.read_zip(packed)
    del entries["classifier.json"]
    packed.write_bytes(samples.zip_bytes(entries))
    message = refusal(lambda: edge_adapt.unpack(packed, tmp_path / "a.edge", model=TINY), BundleError)
    assert "has other parts than a task" in message
