"""Makes tiny.edge: a whole bundle of a few kilobytes, so that the runtime's tests need neither PyTorch nor onnx.

    python -m tests.data.make_tiny

Its backbone has no weights: the features of an 8x8 colour image are the means of its 2x2 squares, 0 to 1. The head's graphs are
those that every bundle gets. The golden vectors are computed in NumPy, with no graph.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.bundle.bundle import Accuracy, Golden, Manifest, write_bundle
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests import reference

PATH = Path(__file__).with_name("tiny.edge")
PREPROCESSING = Preprocessing(height=8, width=8, channels=3)
FEATURE_SIZE = 4 * 4 * 3
STEPS = 3
HEAD: dict[str, Any] = {"scale": 2.0, "pull": 1e-2}

EMBED = """
<ir_version: 8, opset_import: ["" : 18]>
embed (uint8[B, 8, 8, 3] images) => (float[B, 48] features)
<float[1] full = {255}, int64[2] rows = {0, 48}>
{
    pixels = Cast <to = 1> (images)
    scaled = Div(pixels, full)
    planes = Transpose <perm = [0, 3, 1, 2]> (scaled)
    squares = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (planes)
    features = Reshape(squares, rows)
}
"""


def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What embed.onnx computes: uint8 [B, 8, 8, 3] to float32 [B, 48], by colour, row and column."""
    squares = images.reshape(-1, 4, 2, 4, 2, 3).mean(axis=(2, 4)) / 255  # [B, 4, 4, 3]
    features: NDArray[np.float32] = squares.transpose(0, 3, 1, 2).reshape(-1, FEATURE_SIZE).astype(np.float32)
    return features


def golden() -> Golden:
    """Four coarse pictures of three classes, and what NumPy makes of them."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3)).astype(np.uint8)
    labels = np.array([0, 1, 2, 2], np.int64)
    blank = Golden(pixels, labels, np.empty((0, 0), np.float32), np.empty((0, 0), np.float32), 1e-4)
    features = embed(blank.images(PREPROCESSING))
    weight, bias, _ = reference.adapt(features, labels, 3, STEPS, **HEAD)
    return dataclasses.replace(blank, features=features, logits=(features @ weight.T + bias).astype(np.float32))


def manifest() -> Manifest:
    """Of tiny.edge."""
    return Manifest(
        name="tiny",
        task="classification",
        method="anil",
        preprocessing=PREPROCESSING,
        feature_size=FEATURE_SIZE,
        default_steps=STEPS,
        head_state=("weight", "bias"),
        trained_on="nothing: its features are means of pixels",
        accuracy=(Accuracy("coloured squares", 3, 1, 5, 100, 0.9, 0.01),),
        license="Apache-2.0",
        golden=golden(),
    )


def graphs() -> dict[str, bytes]:
    """The three graphs of tiny.edge; the only part that needs onnx, so that the tests can import the rest."""
    from onnx import parser

    from edge_adapt.export.heads.gradient import GradientHeadParameters, gradient_head_graphs
    from edge_adapt.export.model_proto import finish

    parameters = GradientHeadParameters(**HEAD)
    head = gradient_head_graphs(parameters, FEATURE_SIZE)
    embed = finish(parser.parse_model(EMBED))
    return {"embed.onnx": embed, "adapt.onnx": head.adapt, "predict.onnx": head.predict}


if __name__ == "__main__":
    write_bundle(PATH, manifest(), graphs())
