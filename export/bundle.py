"""From a model in PyTorch to one `.edge` file: graphs, golden vectors, parity gate."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_adapt.export.embed.extractor import HALF_TOLERANCE
from edge_adapt.export.gates.parity import Comparison, Origin, check_parity
from edge_adapt.export.gates.precision import Reduction, compare_precisions
from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.runtime.bundle.bundle import Accuracy, Bundle, Golden, Manifest, write_bundle
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import View

GOLDEN_TOLERANCE = {"fp32": 1e-3, "fp16": 1e-3, "int8": 3e-2, "half": HALF_TOLERANCE}
"""Processors differ in the order of their sums; a wrong graph differs by more than a thousandth. In 8 bits a last bit now and
then decides which way a value is rounded, by a 255th of its range, and layers behind pass that on: see docs/quantization.md.
"half" is of an extractor that computes in float16, which not every processor does; "fp16" only stores weights so."""


@dataclass(frozen=True)
class Description:
    """What the manifest says that the graphs do not: see `edge_adapt.runtime.bundle.bundle.Manifest`."""

    name: str
    method: str
    preprocessing: Preprocessing
    default_steps: int
    trained_on: str = ""
    accuracy: tuple[Accuracy, ...] = ()
    license: str = ""
    support_views: tuple[View, ...] = ()


def write_checked_bundle(
    path: str | os.PathLike[str],
    embed: bytes,
    head: HeadGraphs,
    description: Description,
    torch_model: EpisodeModel,
    data: ImageDataset,
    report: Callable[[Comparison], None],
    reduction: Reduction = Reduction(),  # noqa: B008  (frozen)
    origin: Origin = Origin(),  # noqa: B008  (frozen)
) -> None:
    """Write a bundle if it agrees with PyTorch, in a lower precision if that agrees with the bundle in float32.

    Args:
        path: the file to write.
        embed: the serialized graph `embed.onnx`.
        head: the other two, and what the manifest says of them.
        description: the rest of the manifest.
        torch_model: what the graphs were exported from.
        data: images to compare on.
        report: is called with each comparison of the gate.
        reduction: to a lower precision.
        origin: where `torch_model` has its features from.

    Raises:
        EdgeAdaptError: the bundle disagrees with PyTorch, its lower precision costs too much, or it cannot be written.
    """
    golden = make_golden(torch_model, description, "half" if origin.half else "fp32")
    graphs = {"embed.onnx": embed, "adapt.onnx": head.adapt, "predict.onnx": head.predict}
    manifest = Manifest(
        name=description.name,
        task="classification",
        method=description.method,
        preprocessing=description.preprocessing,
        feature_size=golden.features.shape[1],
        default_steps=description.default_steps,
        head_state=head.state,
        max_ways=None,
        trained_on=description.trained_on,
        accuracy=description.accuracy,
        license=description.license,
        golden=golden,
        graphs={},
        support_views=description.support_views,
    )
    with tempfile.TemporaryDirectory() as folder:
        full = _opened(Path(folder) / "fp32.edge", manifest, graphs)
        steps, views = description.default_steps, description.support_views
        check_parity(full, torch_model, data, steps, steps > 0, report, views, origin)
        if reduction.precision != "fp32":
            graphs = {**graphs, "embed.onnx": reduction.apply(graphs["embed.onnx"])}
            manifest = replace(manifest, precision=reduction.precision, golden=None)
            reduced = _opened(Path(folder) / "reduced.edge", manifest, graphs)
            manifest = replace(manifest, golden=make_golden(reduced, description, reduction.precision))
            reduced = _opened(Path(folder) / "reduced.edge", manifest, graphs)
            compare_precisions(full, reduced, data, reduction.allowed_drop, report)
    write_bundle(path, manifest, graphs)


def _opened(path: Path, manifest: Manifest, graphs: Mapping[str, bytes]) -> Graphs:
    """The graphs as a device has them, on one thread."""
    write_bundle(path, manifest, graphs)
    return Graphs(Bundle.open(path), provider="cpu", threads=1)


def add_accuracy(path: str | os.PathLike[str], accuracy: tuple[Accuracy, ...]) -> None:
    """Replace the measured accuracies in a bundle's manifest."""
    bundle = Bundle.open(path)
    graphs = {name: bundle.graph(name) for name in bundle.manifest.graphs}
    write_bundle(path, replace(bundle.manifest, accuracy=accuracy), graphs)


def make_golden(model: EpisodeModel, description: Description, precision: str = "fp32") -> Golden:
    """A few coarse pictures and what a model makes of them, for a device to check itself against."""
    preprocessing = description.preprocessing
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 2], np.int64)
    pixels = random.integers(0, 256, (len(labels), 4, 4, preprocessing.channels)).astype(np.uint8)
    tolerance = GOLDEN_TOLERANCE[precision]
    blank = Golden(pixels, labels, np.empty((0, 0), np.float32), np.empty((0, 0), np.float32), tolerance)
    features = model.embed(blank.images(preprocessing))
    state, _ = model.adapt(features, labels, 3, description.default_steps)
    return replace(blank, features=features, logits=model.predict(features, state))
