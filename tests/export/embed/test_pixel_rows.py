"""Pixels normalized by the row are the same pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx")

import onnx

from edge_adapt.export.embed.pixel_rows import normalize_rows
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.sessions import Session

HEIGHT, WIDTH = 5, 7

GRAPH = """
<ir_version: 8, opset_import: ["" : 18]>
embed (uint8[B, 5, 7, {C}] images) => (float[B, {C}, 5, 7] planes)
<float[{C}] mean, float[{C}] std> {{
    pixels = Cast <to = 1> (images)
    centred = Sub(pixels, mean)
    scaled = Div(centred, std)
    {more}
    planes = Transpose <perm = [0, 3, 1, 2]> (scaled)
}}
"""


def model(channels: int, more: str = "") -> onnx.ModelProto:
    """The usual normalization, and then what else is given."""
    parsed = onnx.parser.parse_model(GRAPH.format(C=channels, more=more))
    random = np.random.default_rng(0)
    for name, low in (("mean", 90), ("std", 40)):
        constant = random.uniform(low, 2 * low, channels).astype(np.float32)
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(constant, name))
    return parsed


def run(parsed: onnx.ModelProto, channels: int) -> NDArray[np.float32]:
    onnx.checker.check_model(parsed, full_check=True)
    images = np.random.default_rng(1).integers(0, 256, (3, HEIGHT, WIDTH, channels)).astype(np.uint8)
    return Session(parsed.SerializeToString(), "embed", ("images",)).run({"images": images})[0]


def test_rows_give_the_same_numbers() -> None:
    rows = model(3)
    normalize_rows(rows, Preprocessing(HEIGHT, WIDTH, 3))
    assert [node.op_type for node in rows.graph.node] == ["Cast", "Reshape", "Sub", "Div", "Reshape", "Transpose"]
    assert {tuple(tensor.dims) for tensor in rows.graph.initializer} == {(3 * WIDTH,), (3,), (4,)}
    assert np.array_equal(run(rows, 3), run(model(3), 3))


def test_rows_whatever_asks_for_the_shape_of_the_images() -> None:
    rows = model(3, "shape = Shape(images)")
    normalize_rows(rows, Preprocessing(HEIGHT, WIDTH, 3))
    assert [node.op_type for node in rows.graph.node].count("Reshape") == 2
    assert np.array_equal(run(rows, 3), run(model(3), 3))


def test_what_is_not_such_a_normalization_is_left_alone() -> None:
    for channels, expected in ((1, 1), (2, 3)):
        other = model(channels)
        normalize_rows(other, Preprocessing(HEIGHT, WIDTH, expected))
        assert other == model(channels)
    for more in ("other = Abs(centred)", "other = Abs(pixels)"):
        branched = model(3, more)
        normalize_rows(branched, Preprocessing(HEIGHT, WIDTH, 3))
        assert np.array_equal(run(branched, 3), run(model(3, more), 3))
