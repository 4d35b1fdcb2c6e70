"""Bundles in lower precision, from the run to the file, and the gate that they must pass."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")

import onnx
from onnx import numpy_helper

from edge_adapt.bundles import from_run as exporting
from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.export.gates import parity, precision
from edge_adapt.export.gates.parity import Comparison
from edge_adapt.export.gates.precision import Precision, cosine
from edge_adapt.runtime.bundle.bundle import Bundle, write_bundle
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.self_check import self_check
from edge_adapt.training.checkpoint import load_checkpoint
from tests.gratings import gratings, write_images

Bundles = dict[str, tuple[Path, list[Comparison]]]


def quicken(patch: pytest.MonkeyPatch, exported: Path) -> None:
    """A part of the gates' work is enough here, and PyTorch need not export the same graph again and again."""
    embed = Bundle.open(exported).graph("embed.onnx")
    patch.setattr(exporting, "embed_graph", lambda *_: embed)
    patch.setattr(parity, "STEPS", (1,))
    patch.setattr(parity, "SHOTS", ((1, 1),))
    patch.setattr(parity, "EPISODES", 20)
    patch.setattr(precision, "EPISODES", 60)
    patch.setattr(precision, "BATCHES", {1: 2, 3: 2})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, exported_bundle: Path) -> None:
    quicken(monkeypatch, exported_bundle)


@pytest.fixture(scope="module")
def bundles(
    exported_bundle: Path, trained_run: Path, new_classes: ImageDataset, tmp_path_factory: pytest.TempPathFactory
) -> Bundles:
    """The run in each lower precision, and what the gates reported."""
    folder = tmp_path_factory.mktemp("bundles")
    made: Bundles = {}
    with pytest.MonkeyPatch.context() as patch:
        quicken(patch, exported_bundle)
        made["fp16"] = folder / "fp16.edge", []
        export_bundle(trained_run, made["fp16"][0], precision=Precision("fp16"), report=made["fp16"][1].append)
        made["int8"] = folder / "int8.edge", []
        export_bundle(
            trained_run,
            made["int8"][0],
            precision=Precision("int8", calibrate=new_classes),
            report=made["int8"][1].append,
        )
    return made


@pytest.mark.parametrize(("name", "size"), [("fp16", 0.6), ("int8", 0.4)])
def test_a_bundle_in_lower_precision_is_smaller_and_the_rest_of_it_the_same(
    bundles: Bundles, exported_bundle: Path, name: str, size: float
) -> None:
    bundle, full = Bundle.open(bundles[name][0]), Bundle.open(exported_bundle)
    bundle.verify()
    assert (bundle.manifest.precision, full.manifest.precision) == (name, "fp32")
    assert bundle.sizes["embed.onnx"] < size * full.sizes["embed.onnx"]
    for graph in ("adapt.onnx", "predict.onnx"):
        assert bundle.graph(graph) == full.graph(graph)
    assert max(self_check(Graphs(bundle, "cpu")).values()) < 1e-5
    assert b"onnx.quantize" not in bundles[name][0].read_bytes()


@pytest.mark.parametrize("name", ["fp16", "int8"])
def test_the_gate_reports_a_table(bundles: Bundles, name: str, tmp_path: Path) -> None:
    path, comparisons = bundles[name]
    assert all(comparison.passed for comparison in comparisons)
    *tensors, features, one_shot, five_shots, size, one_image, three_images = map(str, comparisons)
    assert len(tensors) == 4  # against PyTorch
    assert f"{name} beside fp32: cosine" in features
    for line, what, unit in (
        (one_shot, "5-way 1-shot", "points"),
        (five_shots, "5-way 5-shot", "points"),
        (size, "size", "times"),
        (one_image, "embed, 1 image", "times"),
        (three_images, "embed, 3 images", "times"),
    ):
        assert what in line and "fp32" in line and name in line and line.endswith(unit)
    bundle, measured = Bundle.open(path), tmp_path / "measured.edge"  # before it had learned its priors
    write_bundle(measured, dataclasses.replace(bundle.manifest, priors=None), bundle.graphs())
    assert f"{measured.stat().st_size / 1e6:.3f} MB {name}" in size  # with golden vectors and all
    assert len({len(line) for line in (one_shot, five_shots, size, one_image, three_images)}) == 1


def test_a_wrong_graph_in_8_bits_fails_its_self_check(bundles: Bundles, tmp_path: Path) -> None:
    """However the rounding goes, a scale that is off by a tenth, or weights that overflowed, are seen."""
    bundle = Bundle.open(bundles["int8"][0])
    graphs = bundle.graphs()

    def check(change: Callable[[NDArray[Any]], NDArray[Any]], chosen: Callable[[onnx.TensorProto], bool]) -> None:
        model = onnx.load_from_string(graphs["embed.onnx"])
        tensor = next(tensor for tensor in model.graph.initializer if chosen(tensor))
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
        write_bundle(tmp_path / "wrong.edge", bundle.manifest, graphs | {"embed.onnx": model.SerializeToString()})
        with pytest.raises(BundleError, match=r"golden (features|logits) are off"):
            self_check(Graphs(Bundle.open(tmp_path / "wrong.edge"), "cpu"))

    nodes = onnx.load_from_string(graphs["embed.onnx"]).graph.node
    scales = {node.input[1] for node in nodes if node.op_type == "DequantizeLinear"}
    check(lambda scale: scale * np.float32(1.1), lambda tensor: tensor.name in scales and len(tensor.dims) == 1)
    check(lambda weight: np.clip(weight, -40, 40), lambda tensor: tensor.data_type == 3 and len(tensor.dims) == 4)


def test_a_loss_of_accuracy_is_refused_unless_it_is_allowed(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(100))

    def less_accurate_by_two_points(*arguments: Any, **others: Any) -> Any:
        measured = evaluate_episodes(*arguments, **others)
        return dataclasses.replace(measured, accuracy=measured.accuracy - 0.02 * (next(calls) % 2))

    monkeypatch.setattr(precision, "evaluate_episodes", less_accurate_by_two_points)
    path = tmp_path / "model.edge"
    path.write_bytes(b"the old file")
    with pytest.raises(
        EdgeAdaptError, match=r"^the bundle in fp16 is too far .* 5-way 1-shot: .* points; .*--allow-drop\.$"
    ):
        export_bundle(trained_run, path, precision=Precision("fp16"))
    assert path.read_bytes() == b"the old file"
    export_bundle(trained_run, path, precision=Precision("fp16", allow_drop=3))
    assert Bundle.open(path).manifest.precision == "fp16"


def test_other_features_are_refused_whatever_is_allowed(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_other_weights(embed: bytes) -> bytes:
        model = onnx.load_from_string(embed)
        weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
        weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
        data: bytes = model.SerializeToString()
        return data

    monkeypatch.setattr(precision, "store_as_float16", with_other_weights)
    with pytest.raises(EdgeAdaptError, match=r"features of \d+ images.*cosine"):
        export_bundle(trained_run, tmp_path / "model.edge", precision=Precision("fp16", allow_drop=100))
    assert not list(tmp_path.iterdir())


def test_images_to_calibrate_with_that_cannot_serve(
    trained_run: Path, new_classes: ImageDataset, tmp_path: Path
) -> None:
    few = write_images(tmp_path / "few", gratings(3, 5))
    path = tmp_path / "model.edge"
    with pytest.raises(EdgeAdaptError, match=r"16 images or more .* and there are 15"):
        export_bundle(trained_run, path, precision=Precision("int8", calibrate=few))
    next(few.rglob("*.png")).write_bytes(b"no image")
    with pytest.raises(EdgeAdaptError, match=r"\.png"):
        export_bundle(trained_run, path, precision=Precision("int8", calibrate=few))
    with pytest.raises(EdgeAdaptError, match="nowhere"):
        export_bundle(trained_run, path, precision=Precision("int8", calibrate=tmp_path / "nowhere"))
    with pytest.raises(EdgeAdaptError, match=r"float32 \[128, 28, 28, 1\] where uint8 \[images, 28, 28, 1\] are"):
        export_bundle(trained_run, path, precision=Precision("int8", calibrate=new_classes.images.astype(np.float32)))
    with pytest.raises(EdgeAdaptError, match="are for int8, and the precision is fp32"):
        export_bundle(trained_run, path, precision=Precision(calibrate=new_classes))
    assert not path.exists()


def test_images_to_calibrate_with_need_no_classes(
    trained_run: Path, new_classes: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_images(tmp_path / "photos", new_classes)
    of_classes = load_dataset(photos, load_checkpoint(trained_run).config.preprocessing)
    loose = tmp_path / "loose"
    loose.mkdir()
    for path in photos.rglob("*.png"):
        path.rename(loose / f"{path.parent.name} {path.name}")
    shutil.make_archive(str(tmp_path / "loose"), "zip", loose)

    class CalibratedError(Exception): ...

    def calibrated(embed: bytes, images: NDArray[np.uint8]) -> bytes:
        np.testing.assert_array_equal(images, of_classes.images)
        raise CalibratedError

    monkeypatch.setattr(precision, "quantize", calibrated)
    for source in (of_classes, tmp_path / "loose.zip"):
        with pytest.raises(CalibratedError):
            export_bundle(trained_run, tmp_path / "model.edge", precision=Precision("int8", calibrate=source))


def test_a_precision_that_makes_no_sense() -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"name": "fp8"}, "no precision 'fp8'"),
        ({"name": "fp16", "allow_drop": float("nan")}, "nan points"),
        ({"name": "fp16", "calibrate": "photos"}, "are for int8, and the precision is fp16"),
    )
    for arguments, fault in cases:
        with pytest.raises(EdgeAdaptError, match=fault):
            Precision(**arguments)
    with pytest.raises(EdgeAdaptError, match=r"16 images or more .* and there are 0"):
        Precision("int8").reduced(b"")


def test_the_cosine_is_of_each_row() -> None:
    ones, others = np.array([[3, 4], [1, 0], [0, 0]], np.float32), np.array([[6, 8], [0, 2], [1, 1]], np.float32)
    assert cosine(ones, others).tolist() == pytest.approx([1, 0, 0])
