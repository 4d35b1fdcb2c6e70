"""Bundles: what is written is what is read, byte for byte and by other programs too."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from PIL import Image

from edge_adapt.runtime.bundle.bundle import (
    GRAPHS,
    MAX_BYTES,
    Adaptation,
    Bundle,
    Golden,
    Manifest,
    Shot,
    write_bundle,
)
from edge_adapt.runtime.bundle.container import write_container
from edge_adapt.runtime.bundle.manifest import manifest_from_json, manifest_to_json
from edge_adapt.runtime.bundle.npy import array_from_npy, array_to_npy
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import View
from tests import bundle_samples as samples

GOLDEN_SHA256 = "93e9cd51117feeb43922f5e2d41b6ccfd2a1c98229c19349178de4fea5e61171"
DOCUMENT = (Path(__file__).parents[3] / "docs" / "bundle-format.md").read_text(encoding="utf-8")


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, arrays by dtype, shape and bytes, dataclasses field by field."""
    if isinstance(left, np.ndarray):
        same_type = isinstance(right, np.ndarray) and left.dtype == right.dtype and left.shape == right.shape
        return same_type and left.tobytes() == right.tobytes()
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return type(left) is type(right) and all(same(getattr(left, name), getattr(right, name)) for name in names)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)


@pytest.mark.parametrize(
    ("manifest", "adaptation"),
    [
        (samples.manifest(), None),
        (samples.manifest(), samples.adaptation()),
        (samples.manifest(golden=None, max_ways=None, max_support=3, accuracy=(), trained_on=""), samples.adaptation()),
        (samples.manifest(default_steps=0), samples.adaptation(steps=7, losses=(), leave_one_out=None)),
        (samples.regression_manifest(), None),
        (samples.regression_manifest(), samples.regression_adaptation()),
        (samples.manifest(precision="fp16"), samples.adaptation()),
        (samples.manifest(precision="int8"), None),
        (samples.manifest(preprocessing=Preprocessing(4, 6, 1, part=0.875, ground="light")), samples.adaptation()),
    ],
)
def test_a_bundle_reads_as_it_was_written(tmp_path: Path, manifest: Manifest, adaptation: Adaptation | None) -> None:
    path = tmp_path / "a.edge"
    write_bundle(path, manifest, samples.GRAPHS, adaptation)
    bundle = Bundle.open(path)
    bundle.verify()
    sums = {name: hashlib.sha256(samples.GRAPHS[name]).hexdigest() for name in GRAPHS}
    assert same(bundle.manifest, dataclasses.replace(manifest, graphs=sums))
    assert {name: bundle.graph(name) for name in GRAPHS} == samples.GRAPHS
    assert bundle.is_adapted == (adaptation is not None)
    if adaptation is not None:
        assert same(bundle.adaptation(), adaptation)
        assert bundle.labels() == adaptation.labels
        assert same(bundle.head_state(), dict(adaptation.head_state))


def test_the_bytes_of_a_bundle_are_those_of_the_first_version(tmp_path: Path) -> None:
    """A file that this test finds changed is one that other versions and languages cannot read."""
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation())
    assert path.read_bytes() == samples.GOLDEN_CLASSIFIER.read_bytes()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == GOLDEN_SHA256
    assert GOLDEN_SHA256 in DOCUMENT


def test_the_committed_bundle_reads_as_it_always_did() -> None:
    bundle = Bundle.open(samples.GOLDEN_CLASSIFIER)
    bundle.verify()
    adaptation = bundle.adaptation()
    assert bundle.manifest.name == "tiny"
    assert bundle.manifest.trained_on == "zwölf Zeichen, 字"
    assert bundle.manifest.preprocessing == Preprocessing(4, 6, 1, "bilinear", "center")
    assert adaptation.labels == ("кот", "dog")
    assert adaptation.shots[2] == Shot(
        1, "dogs/c.jpg", "2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6"
    )
    assert adaptation.head_state["weight"].tolist() == [[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]]
    assert adaptation.head_state["count"] == 3
    assert adaptation.support_features[2].tolist() == [1.5, 1.75, 2.0]
    assert bundle.manifest.golden is not None
    assert bundle.manifest.golden.features[1].tolist() == [0.0, 1.0, -0.25]


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


def test_a_bundle_is_of_the_lowest_version_that_can_hold_it() -> None:
    sums = dict.fromkeys(GRAPHS, "0" * 64)
    in_full = json.loads(manifest_to_json(samples.manifest(graphs=sums), "a.edge"))
    in_half = json.loads(manifest_to_json(samples.manifest(graphs=sums, precision="fp16"), "a.edge"))
    assert in_full["format_version"] == 1
    assert in_half == in_full | {"format_version": 2, "precision": "fp16"}
    with pytest.raises(BundleError, match="precision"):
        manifest_from_json(json.dumps(in_half | {"precision": "fp32"}).encode(), "a.edge")
    with pytest.raises(BundleError, match="precision"):
        manifest_from_json(json.dumps(in_full | {"precision": "fp16"}).encode(), "a.edge")
    with pytest.raises(BundleError, match='lacks "precision"'):
        manifest_from_json(json.dumps(in_full | {"format_version": 2}).encode(), "a.edge")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_views_of_support_images_are_of_version_3(precision: str) -> None:
    sums = dict.fromkeys(GRAPHS, "0" * 64)
    plain = samples.manifest(graphs=sums, precision=precision)
    seen = dataclasses.replace(plain, support_views=(View(mirrored=True), View(0.8)))
    written = json.loads(manifest_to_json(seen, "a.edge"))
    views = [{"part": 1.0, "mirrored": True}, {"part": 0.8, "mirrored": False}]
    expected = {"format_version": 3, "precision": precision, "support_views": views}
    assert written == json.loads(manifest_to_json(plain, "a.edge")) | expected
    assert manifest_from_json(json.dumps(written).encode(), "a.edge").support_views == seen.support_views
    refused: tuple[object, ...] = (
        *([], [{"part": 1, "mirrored": False}], [{"part": 0, "mirrored": True}], [{"part": 0.5, "mirrored": 1}]),
        *([{"part": 0.5}], [{"part": 0.5, "mirrored": True, "turned": 90}], views * 8, {}, None),
    )
    for wrong in refused:
        with pytest.raises(BundleError, match="support_views"):
            manifest_from_json(json.dumps(written | {"support_views": wrong}).encode(), "a.edge")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("views", [(), (View(mirrored=True),)])
@pytest.mark.parametrize("seen", [{"part": 0.875}, {"ground": "light"}, {"part": 0.1, "ground": "light"}])
def test_the_part_and_the_ground_of_images_are_of_version_4(
    precision: str, views: tuple[View, ...], seen: dict[str, Any]
) -> None:
    sums = dict.fromkeys(GRAPHS, "0" * 64)
    plain = samples.manifest(graphs=sums, precision=precision, support_views=views)
    changed = dataclasses.replace(plain, preprocessing=dataclasses.replace(plain.preprocessing, **seen))
    written = json.loads(manifest_to_json(changed, "a.edge"))
    before = json.loads(manifest_to_json(plain, "a.edge"))
    preprocessing = before["preprocessing"] | {"part": 1.0, "ground": "any"} | seen
    expected = {"format_version": 4, "precision": precision, "preprocessing": preprocessing}
    assert written == before | {"support_views": [dataclasses.asdict(view) for view in views]} | expected
    assert list(written["preprocessing"])[-2:] == ["part", "ground"]
    assert same(manifest_from_json(json.dumps(written).encode(), "a.edge"), changed)
    refused: dict[str, tuple[object, ...]] = {
        "part": (0, 0.09, 1.01, True, "1", None, [], {}),
        "ground": ("dark", "", "LIGHT", 1, None, [], {}),
    }
    for name, values in refused.items():
        for wrong in values:
            other = json.dumps(written | {"preprocessing": preprocessing | {name: wrong}}).encode()
            with pytest.raises(BundleError, match=name):
                manifest_from_json(other, "a.edge")
    for name in ("part", "ground"):
        less = {key: value for key, value in preprocessing.items() if key != name}
        with pytest.raises(BundleError, match=f'lacks "{name}"'):
            manifest_from_json(json.dumps(written | {"preprocessing": less}).encode(), "a.edge")
    with pytest.raises(BundleError, match="unknown key"):
        manifest_from_json(
            json.dumps(written | {"format_version": 3, "support_views": [{"part": 1, "mirrored": True}]}).encode(),
            "a.edge",
        )


@given(st.dictionaries(st.text("az./", max_size=20).map("{}z".format), st.binary(max_size=50), max_size=5))
@settings(max_examples=25, deadline=None)
def test_the_container_is_what_zipfile_writes(entries: dict[str, bytes]) -> None:
    stream = io.BytesIO()
    write_container(stream, entries.items())
    assert stream.getvalue() == samples.zip_bytes(entries)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the order of dictionaries, the memory layout and byte order of arrays, and the name of the file."""
    write_bundle(tmp_path / "a.edge", samples.manifest(), samples.GRAPHS, samples.adaptation())
    adaptation = samples.adaptation()
    other = dataclasses.replace(
        adaptation,
        head_state={
            "count": adaptation.head_state["count"].astype(">i8"),
            "weight": np.asfortranarray(adaptation.head_state["weight"]),
        },
        support_features=np.repeat(adaptation.support_features, 2, axis=1)[:, ::2].astype(">f4"),
    )
    manifest = samples.manifest(graphs={"embed.onnx": "stale"})
    write_bundle(str(tmp_path / "b.edge"), manifest, dict(reversed(samples.GRAPHS.items())), other)
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()


ARRAYS = st.one_of(
    st_numpy.arrays(
        np.float32,
        st_numpy.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
    ),
    st_numpy.arrays(np.int64, st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
)


@given(ARRAYS)
@settings(max_examples=100, deadline=None)
def test_arrays_read_as_written_and_as_numpy_reads_them(array: np.ndarray[Any, np.dtype[Any]]) -> None:
    data = array_to_npy(array, "it")
    assert same(array_from_npy(data, "it"), array)
    assert same(np.load(io.BytesIO(data), allow_pickle=False), array)
    by_numpy = io.BytesIO()
    np.lib.format.write_array(by_numpy, np.ascontiguousarray(array).reshape(array.shape), version=(1, 0))
    assert same(array_from_npy(by_numpy.getvalue(), "it"), array)


LINES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20)


@given(labels=st.lists(LINES, min_size=1, max_size=8, unique=True), data=st.data())
@settings(max_examples=40, deadline=None)
def test_any_labels_names_and_head_arrays_survive(
    tmp_path_factory: pytest.TempPathFactory, labels: list[str], data: st.DataObject
) -> None:
    extra = data.draw(st.lists(st.integers(0, len(labels) - 1), max_size=5))
    indices = [*range(len(labels)), *extra]
    adaptation = Adaptation(
        labels=tuple(labels),
        shots=tuple(Shot(index, data.draw(LINES), "0" * 64) for index in indices),
        steps=0,
        losses=(),
        leave_one_out=None,
        head_state={"weight": data.draw(ARRAYS), "count": data.draw(ARRAYS)},
        support_features=np.zeros((len(indices), 3), np.float32),
        support_targets=np.array(indices, np.int64),
    )
    path = tmp_path_factory.mktemp("any") / "a.edge"
    write_bundle(path, samples.manifest(max_ways=None), samples.GRAPHS, adaptation)
    assert same(Bundle.open(path).adaptation(), adaptation)


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    """With everything else destroyed, labels and head state still come: `classify` never reads the support set."""
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation())
    raw = path.read_bytes()
    entries = samples.read_zip(path)
    for name in ("embed.onnx", "adapt.onnx", "support/features.npy", "support/targets.npy"):
        assert raw.count(entries[name]) == 1
        raw = raw.replace(entries[name], bytes(len(entries[name])))
    path.write_bytes(raw)
    bundle = Bundle.open(path)
    assert bundle.labels() == ("кот", "dog")
    assert same(bundle.head_state(), dict(samples.adaptation().head_state))
    assert bundle.graph("predict.onnx") == samples.GRAPHS["predict.onnx"]
    with pytest.raises(BundleError, match=r"embed\.onnx does not match its SHA-256"):
        bundle.graph("embed.onnx")
    with pytest.raises(BundleError, match=r"support/features\.npy does not match its SHA-256"):
        bundle.adaptation()


def test_an_open_bundle_does_not_hold_its_file_and_notices_another(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS, samples.adaptation())
    bundle = Bundle.open(path)
    write_bundle(path, bundle.manifest, samples.GRAPHS, samples.adaptation(labels=("one", "two")))
    with pytest.raises(BundleError, match=r"classifier\.json is damaged"):
        bundle.labels()
    assert Bundle.open(path).labels() == ("one", "two")


def test_a_meta_model_is_not_a_classifier(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    write_bundle(path, samples.manifest(), samples.GRAPHS)
    bundle = Bundle.open(path)
    for read in (bundle.labels, bundle.head_state, bundle.adaptation):
        with pytest.raises(BundleError, match="is a meta-model that knows no classes yet; adapt it first"):
            read()


def test_golden_images_are_blown_up_by_nearest_repetition() -> None:
    pixels = np.arange(2 * 3 * 3 * 1, dtype=np.uint8).reshape(2, 3, 3, 1)
    nothing = np.zeros((2, 0), np.float32)
    images = Golden(pixels, np.arange(2), nothing, nothing, 0.1).images(Preprocessing(7, 5, 1))
    assert images.shape == (2, 7, 5, 1)
    assert images.flags.c_contiguous
    for image, y, x in np.ndindex(2, 7, 5):
        assert images[image, y, x] == pixels[image, y * 3 // 7, x * 3 // 5]


@pytest.mark.parametrize(
    ("manifest", "graphs", "adaptation", "fault"),
    [
        (samples.manifest(), {"embed.onnx": samples.GRAPHS["embed.onnx"]}, None, "it takes the graphs"),
        (samples.manifest(), samples.GRAPHS | {"adapt.onnx": b"\xff"}, None, "adapt.onnx is malformed"),
        (samples.manifest(task="ranking"), samples.GRAPHS, None, '"task"'),
        (samples.manifest(name="two\nlines"), samples.GRAPHS, None, '"name"'),
        (samples.manifest(license="half \ud800"), samples.GRAPHS, None, '"license"'),
        (samples.manifest(head_state=("a", "a")), samples.GRAPHS, None, "twice"),
        (samples.manifest(head_state=("../a",)), samples.GRAPHS, None, "cannot name a tensor"),
        (samples.manifest(head_state=("features",)), samples.GRAPHS, None, "cannot name a tensor"),
        (samples.manifest(max_ways=1), samples.GRAPHS, samples.adaptation(), "at most 1"),
        (samples.manifest(max_support=2), samples.GRAPHS, samples.adaptation(), "at most 2"),
        (samples.manifest(trained_on="x" * 5_000_000), samples.GRAPHS, None, "the format allows"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a", "a")), "'a' twice"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a", "")), "a name in"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a", "b", "c")), "a label without a shot"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(labels=("a",)), '"label"'),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(losses=(1.0,)), "1 losses for 2 steps"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(losses=(1.0, float("nan"))), "not finite"),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(leave_one_out=1.5), '"leave_one_out"'),
        (samples.manifest(), samples.GRAPHS, samples.adaptation(head_state={}), "weight, count"),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(head_state={"weight": np.array(np.nan, np.float32), "count": np.array(1)}),
            "head/weight.npy holds a NaN or an infinity",
        ),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(head_state={"weight": np.array(1.0), "count": np.array(1)}),
            "head/weight.npy is float64",
        ),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(support_features=np.zeros((3, 4), np.float32)),
            "support/features.npy is float32 [3, 4], and the shots need float32 [3, 3]",
        ),
        (
            samples.manifest(),
            samples.GRAPHS,
            samples.adaptation(support_targets=np.array([0, 1, 0])),
            "support/targets.npy disagrees",
        ),
        (samples.manifest(), samples.GRAPHS, samples.regression_adaptation(), "the task is classification"),
        (samples.regression_manifest(), samples.GRAPHS, samples.adaptation(), "the task is regression"),
        (samples.manifest(precision="fp8"), samples.GRAPHS, None, "precision"),
    ],
)
def test_what_a_reader_would_refuse_is_not_written(
    tmp_path: Path, manifest: Manifest, graphs: dict[str, bytes], adaptation: Adaptation | None, fault: str
) -> None:
    with pytest.raises(BundleError, match=re.escape(fault)) as refusal:
        write_bundle(tmp_path / "a.edge", manifest, graphs, adaptation)
    assert str(refusal.value).startswith(str(tmp_path / "a.edge"))
    assert not list(tmp_path.iterdir())


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
