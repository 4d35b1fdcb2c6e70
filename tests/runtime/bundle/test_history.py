"""The history of edits in a file: damaged and hostile ones."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_adapt.runtime.bundle.bundle import Bundle, write_bundle
from edge_adapt.runtime.bundle.history_json import Edit, History, SupportImage
from edge_adapt.runtime.bundle.npy import array_to_npy
from edge_adapt.runtime.errors import BundleError
from tests import bundle_samples as samples
from tests.bundle_samples import refusal_of

IMAGES = [
    SupportImage("dog", f"{name}.jpg", name * 64, np.full(3, value, np.float32)) for name, value in (("a", 1), ("b", 2))
]
HISTORY = History(
    (
        Edit("add dog: 2 images", "2026-01-02T03:04:05Z", (), tuple(IMAGES)),
        Edit("rename dog to кот", "2026-01-02T03:04:06Z", (IMAGES[0],), (dataclasses.replace(IMAGES[0], label="кот"),)),
    ),
    1,
)


@pytest.fixture(scope="module")
def entries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("edited") / "mine.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation(), HISTORY)
    found = Bundle.open(path).history()
    assert found.done == 1 and [edit.what for edit in found.edits] == [edit.what for edit in HISTORY.edits]
    for ours, theirs in zip(found.edits, HISTORY.edits, strict=True):
        for read, written in zip((*ours.lost, *ours.gained), (*theirs.lost, *theirs.gained), strict=True):
            assert (read.label, read.name, read.sha256) == (written.label, written.name, written.sha256)
            np.testing.assert_array_equal(read.features, written.features)
    return samples.read_zip(path)


def test_features_are_stored_once_and_the_version_says_so(entries: dict[str, bytes]) -> None:
    assert list(entries)[-2:] == ["history.json", "history/features.npy"]
    assert len(entries["history/features.npy"]) == 128 + 2 * 3 * 4
    assert json.loads(entries["manifest.json"])["format_version"] == 5


def test_a_photo_of_no_class_needs_the_version(tmp_path: Path) -> None:
    plain = samples.adaptation()
    with_other = samples.adaptation(
        shots=(*plain.shots, dataclasses.replace(plain.shots[0], label=-1)),
        support_features=np.zeros((4, 3), np.float32),
        support_targets=np.array([0, 1, 1, -1]),
    )
    write_bundle(tmp_path / "mine.edge", samples.manifest(max_support=3), samples.GRAPHS, with_other)
    bundle = Bundle.open(tmp_path / "mine.edge")
    bundle.verify()
    assert b'"format_version":5' in (tmp_path / "mine.edge").read_bytes() and bundle.adaptation().shots[-1].label == -1


def changed(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda history: history.update(changes)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (changed(done=3), '"done"'),
        (changed(done=-1), '"done"'),
        (changed(edits=[]), '"done"'),
        (changed(edits=[], done=0), "has no edit"),
        (changed(more=1), "unknown key 'more'"),
        (lambda history: history.pop("done"), 'lacks "done"'),
        (lambda history: history["edits"].extend(history["edits"] * 100), "at most 200"),
        (lambda history: history["edits"][0].update(gained=[]), "has an edit of nothing"),
        (lambda history: history["edits"][0].update(what="two\nlines"), '"what"'),
        (lambda history: history["edits"][0].update(at=7), '"at"'),
        (lambda history: history["edits"][0]["gained"][0].update(row=2), '"row"'),
        (lambda history: history["edits"][0]["gained"][0].update(row=-1), '"row"'),
        (lambda history: history["edits"][0]["gained"][0].update(sha256="x"), '"sha256"'),
        (lambda history: history["edits"][0]["gained"][0].update(label=""), '"label"'),
    ],
)
def test_a_history_that_the_format_does_not_allow(
    file: Path, entries: dict[str, bytes], change: Callable[[dict[str, Any]], object], fault: str
) -> None:
    history = json.loads(entries["history.json"])
    change(history)
    message = refusal_of(file, entries | {"history.json": json.dumps(history).encode()})
    assert message.startswith(": history.json") and fault in message


@pytest.mark.parametrize(
    "features", [np.zeros((2, 4), np.float32), np.zeros(6, np.float32), np.zeros((2, 3), np.int64)]
)
def test_features_of_another_size(file: Path, entries: dict[str, bytes], features: Any) -> None:
    message = refusal_of(file, entries | {"history/features.npy": array_to_npy(features, "")})
    assert "history.json has features" in message


@pytest.mark.parametrize("missing", ["history.json", "history/features.npy"])
def test_half_a_history(file: Path, entries: dict[str, bytes], missing: str) -> None:
    assert f"lacks {missing}" in refusal_of(file, {name: data for name, data in entries.items() if name != missing})


def test_a_history_without_a_classifier(file: Path, entries: dict[str, bytes]) -> None:
    kept = {
        name: data for name, data in entries.items() if name.endswith((".onnx", "manifest.json")) or "history" in name
    }
    assert "lacks classifier.json" in refusal_of(file, kept)


def test_nothing_is_written_that_would_not_be_read(tmp_path: Path) -> None:
    wrong = History((dataclasses.replace(HISTORY.edits[0], what="two\nlines"),), 1)
    with pytest.raises(BundleError, match='"what"'):
        write_bundle(tmp_path / "mine.edge", samples.manifest(), samples.GRAPHS, samples.adaptation(), wrong)
    assert not list(tmp_path.iterdir())
