"""From a model in PyTorch to one `.edge` file: graphs, golden vectors, parity gate."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_adapt.export.parity import Comparison, check_parity
from edge_adapt.runtime.bundle import Accuracy, Bundle, Golden, Manifest, write_bundle
from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.evaluation import EpisodeModel
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.images import Preprocessing

GOLDEN_TOLERANCE = 1e-3
"""Processors differ in the order of their sums; a wrong graph differs by more than a thousandth."""


@dataclass(frozen=True)
class Description:
    """What the manifest says that the graphs do not: see `edge_adapt.runtime.bundle.Manifest`."""

    name: str
    method: str
    preprocessing: Preprocessing
    default_steps: int
    trained_on: str = ""
    accuracy: tuple[Accuracy, ...] = ()
    license: str = ""


def write_checked_bundle(
    path: str | os.PathLike[str],
    graphs: Mapping[str, bytes],
    head_state: tuple[str, ...],
    description: Description,
    torch_model: EpisodeModel,
    data: ImageDataset,
    report: Callable[[Comparison], None],
) -> None:
    """Write a bundle if it agrees with PyTorch.

    Args:
        path: the file to write.
        graphs: `embed.onnx`, `adapt.onnx` and `predict.onnx`, serialized.
        head_state: names of the head state's tensors, in the order of `adapt`'s outputs.
        description: the rest of the manifest.
        torch_model: what the graphs were exported from.
        data: images to compare on.
        report: is called with each comparison of the gate.

    Raises:
        EdgeAdaptError: the bundle disagrees with PyTorch, or cannot be written.
    """
    golden = make_golden(torch_model, description)
    manifest = Manifest(
        name=description.name,
        task="classification",
        method=description.method,
        preprocessing=description.preprocessing,
        feature_size=golden.features.shape[1],
        default_steps=description.default_steps,
        head_state=head_state,
        max_ways=None,
        max_support=None,
        trained_on=description.trained_on,
        accuracy=description.accuracy,
        license=description.license,
        golden=golden,
        graphs={},
    )
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.edge"
        write_bundle(trial, manifest, graphs)
        running = Graphs(Bundle.open(trial), provider="cpu")
        check_parity(running, torch_model, data, description.default_steps, description.default_steps > 0, report)
    write_bundle(path, manifest, graphs)


def add_accuracy(path: str | os.PathLike[str], accuracy: tuple[Accuracy, ...]) -> None:
    """Replace the measured accuracies in a bundle's manifest."""
    bundle = Bundle.open(path)
    graphs = {name: bundle.graph(name) for name in bundle.manifest.graphs}
    write_bundle(path, replace(bundle.manifest, accuracy=accuracy), graphs)


def make_golden(torch_model: EpisodeModel, description: Description) -> Golden:
    """A few coarse pictures and what PyTorch makes of them, for a device to check itself against."""
    preprocessing = description.preprocessing
    random = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 2], np.int64)
    pixels = random.integers(0, 256, (len(labels), 4, 4, preprocessing.channels)).astype(np.uint8)
    blank = Golden(pixels, labels, np.empty((0, 0), np.float32), np.empty((0, 0), np.float32), GOLDEN_TOLERANCE)
    features = torch_model.embed(blank.images(preprocessing))
    state, _ = torch_model.adapt(features, labels, 3, description.default_steps)
    return replace(blank, features=features, logits=torch_model.predict(features, state))
