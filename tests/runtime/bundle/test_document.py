"""The document of the format is true: its bytes, its example, its keys, and what other programs make of a bundle."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime.bundle.bundle import (
    GRAPHS,
    MAX_BYTES,
    write_bundle,
)
from edge_adapt.runtime.bundle.manifest import manifest_to_json
from tests import bundle_samples as samples
from tests.bundle_samples import same

GOLDEN_SHA256 = "93e9cd51117feeb43922f5e2d41b6ccfd2a1c98229c19349178de4fea5e61171"

DOCUMENT = (Path(__file__).parents[3] / "docs" / "bundle-format.md").read_text(encoding="utf-8")


def test_the_bytes_of_a_bundle_are_those_of_the_first_version(tmp_path: Path) -> None:
    """A file that this test finds changed is one that other versions and languages cannot read."""
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation())
    assert path.read_bytes() == samples.GOLDEN_CLASSIFIER.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN_SHA256
    assert GOLDEN_SHA256 in DOCUMENT


def test_other_programs_read_a_bundle(tmp_path: Path) -> None:
    """zipfile, json and numpy.load are the independent readers."""
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation())
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    entries = samples.read_zip(path)
    assert tuple(entries) == samples.ENTRIES_OF_CLASSIFIER
    manifest, classifier = json.loads(entries["manifest.json"]), json.loads(entries["classifier.json"])
    assert manifest["format_version"] == 1
    for entry, sha256 in (manifest["graphs"] | classifier["arrays"]).items():
        assert hashlib.sha256(entries[entry]).hexdigest() == sha256
    for name, array in samples.adaptation().head_state.items():
        assert same(np.load(io.BytesIO(entries[f"head/{name}.npy"]), allow_pickle=False), array)
    assert np.load(io.BytesIO(entries["support/targets.npy"])).tolist() == [s["label"] for s in classifier["shots"]]


def test_the_example_in_the_document_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a model that tells dark photos from light ones by their mean."""
    pytest.importorskip("onnxruntime")
    onnx_parser = pytest.importorskip("onnx.parser")
    texts = {
        "embed.onnx": """(uint8[B, 4, 6, 1] images) => (float[B, 3] features) <int64[2] shape = {-1, 24}> {
            flat = Reshape (images, shape)
            numbers = Cast <to = 1> (flat)
            mean = ReduceMean <axes = [1]> (numbers)
            features = Concat <axis = 1> (mean, mean, mean)
        }""",
        "adapt.onnx": "(float[M, 3] features) => (float[M, 3] weight) { weight = Identity (features) }",
        "predict.onnx": """(float[B, 3] features, float[N, 3] weight, int64 count) => (float[B, N] logits) {
            logits = Gemm <transB = 1> (features, weight)
        }""",
    }
    graphs = {
        name: onnx_parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g {text}').SerializeToString()
        for name, text in texts.items()
    }
    weight = np.array([[-1, 0, 0], [1, 0, 0]], np.float32)
    adaptation = samples.adaptation(labels=("dark", "light"), head_state={"weight": weight, "count": np.array(1)})
    write_bundle(tmp_path / "mine.edge", samples.manifest(), graphs, adaptation)
    Image.new("RGB", (12, 8), "white").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    exec(DOCUMENT.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out == "light\n"


def test_the_document_names_every_key_and_limit() -> None:
    value = json.loads(manifest_to_json(dataclasses.replace(samples.manifest(), graphs=dict.fromkeys(GRAPHS, "")), ""))
    keys = {*value, *value["preprocessing"], *value["golden"], *value["accuracy"][0], *value["golden"]["pixels"]}
    classifier = json.loads(samples.read_zip(samples.GOLDEN_CLASSIFIER)["classifier.json"])
    keys |= {*classifier, *classifier["shots"][0]}
    missing = [key for key in sorted(keys) if f"`{key}`" not in DOCUMENT]
    assert not missing
    for size in MAX_BYTES.values():
        assert f"{size:,}" in DOCUMENT
