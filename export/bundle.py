"""From a model in PyTorch to one `.edge` file: graphs, golden vectors, parity gate."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_adapt.export.embed.extractor import HALF_TOLERANCE
from edge_adapt.export.gates.parity import Comparison, Reference, check_parity
from edge_adapt.export.gates.precision import Precision, compare_precisions
from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.priors import learn_priors
from edge_adapt.runtime.bundle.bundle import Bundle, Golden, Manifest, write_bundle
from edge_adapt.runtime.bundle.card import Accuracy, ModelCard
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.evaluation import Evaluation
from edge_adapt.runtime.graphs import Graphs

GOLDEN_TOLERANCE = {"fp32": 1e-3, "fp16": 1e-3, "int8": 3e-2, "half": HALF_TOLERANCE, "all layers": 3e-2}
"""Processors differ in the order of their sums; a wrong graph differs by more than a thousandth. In 8 bits a last bit now and
then decides which way a value is rounded, by a 255th of its range, and layers behind pass that on: see docs/quantization.md.
"half" is of an extractor that computes in float16, which not every processor does; "fp16" only stores weights so. Where all
layers adapt, a last bit now and then decides which of two numbers is the maximum, and where the gradient goes."""


def write_checked_bundle(
    path: str | os.PathLike[str],
    embed: bytes,
    head: HeadGraphs,
    card: ModelCard,
    reference: Reference,
    report: Callable[[Comparison], None],
    precision: Precision = Precision(),  # noqa: B008  (frozen)
) -> None:
    """Write a bundle if it agrees with PyTorch, in a lower precision if that agrees with the bundle in float32.

    Args:
        path: the file to write.
        embed: the serialized graph `embed.onnx`.
        head: the other two, and what the manifest says of them.
        card: what the manifest says of the model, in float32.
        reference: what the graphs were exported from.
        report: is called with each comparison of the gates.
        precision: of the bundle.

    Raises:
        EdgeAdaptError: the bundle disagrees with PyTorch, its lower precision costs too much, or it cannot be written.
    """
    precise = "half" if reference.half else "all layers" if reference.all_layers else "fp32"
    golden = make_golden(reference.model, card, precise)
    graphs = {"embed.onnx": embed, "adapt.onnx": head.adapt, "predict.onnx": head.predict}
    manifest = Manifest(**vars(card), feature_size=golden.features.shape[1], head_state=head.state, golden=golden)
    with tempfile.TemporaryDirectory() as folder:
        full = _opened(Path(folder) / "fp32.edge", manifest, graphs)
        check_parity(full, reference, card.default_steps, report, card.support_views)
        if precision.name != "fp32":
            graphs = {**graphs, "embed.onnx": precision.reduced(graphs["embed.onnx"])}
            manifest = replace(manifest, precision=precision.name, golden=None)
            reduced = _opened(Path(folder) / "reduced.edge", manifest, graphs)
            manifest = replace(manifest, golden=make_golden(reduced, card, precision.name))
            reduced = _opened(Path(folder) / "reduced.edge", manifest, graphs)
            compare_precisions(full, reduced, reference.data, precision.allow_drop, report)
            full = reduced
        priors = learn_priors(full, reference.data, card.default_steps, card.support_views)
    write_bundle(path, replace(manifest, priors=priors), graphs)


def _opened(path: Path, manifest: Manifest, graphs: Mapping[str, bytes]) -> Graphs:
    """The graphs as a device has them, on one thread."""
    write_bundle(path, manifest, graphs)
    return Graphs(Bundle.open(path), provider="cpu", threads=1)


def record_accuracy(path: str | os.PathLike[str], data: str, measured: Iterable[Evaluation]) -> None:
    """Put what was measured on a data set in the place of what a bundle's manifest says of that data set."""
    bundle = Bundle.open(path)
    kept = [entry for entry in bundle.manifest.accuracy if entry.data != data]
    for result in measured:
        over = result.protocol
        kept.append(Accuracy(data, over.n_way, over.n_shot, over.n_query, over.episodes, result.accuracy, result.ci95))
    write_bundle(path, replace(bundle.manifest, accuracy=tuple(kept)), bundle.graphs())


def make_golden(model: EpisodeModel, card: ModelCard, precision: str = "fp32") -> Golden:
    """A few coarse pictures and what a model makes of them, for a device to check itself against."""
    preprocessing = card.preprocessing
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 2], np.int64)
    pixels = random.integers(0, 256, (len(labels), 4, 4, preprocessing.channels)).astype(np.uint8)
    tolerance = GOLDEN_TOLERANCE[precision]
    blank = Golden(pixels, labels, np.empty((0, 0), np.float32), np.empty((0, 0), np.float32), tolerance)
    features = model.embed(blank.images(preprocessing))
    state, _ = model.adapt(features, labels, 3, card.default_steps)
    return replace(blank, features=features, logits=model.predict(features, state))
