"""Graphs of listed operators that kill ONNX Runtime of some version, never end, or take all memory; each made from text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto, helper, parser


def _of_text(body: str, *, inputs: str = "float[N] x", outputs: str = "float[M] y", opset: int = 18) -> bytes:
    text = f'<ir_version: 8, opset_import: ["" : {opset}]> g ({inputs}) => ({outputs}) {{ {body} }}'
    model: bytes = parser.parse_model(text).SerializeToString()
    return model


def _of_node(operator: str, inputs: list[str], **attributes: Any) -> bytes:
    """One node, with inputs that are left out by an empty name."""
    node = helper.make_node(operator, inputs, ["y"], **attributes)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, ["N"])], [value("y", TensorProto.FLOAT, None)]
    )
    model = helper.make_model(graph, opset_imports=[onnx.OperatorSetIdProto(domain="", version=18)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def _recurrent(operator: str, gates: int) -> bytes:
    """A batch of no sequences."""
    weights = " ".join(f"{name} = ConstantOfShape({name}_shape)" for name in ("w", "r"))
    return _of_text(
        f"empty_shape = Constant <value_ints = [2, 0, 3]> () s = ConstantOfShape(empty_shape) "
        f"w_shape = Constant <value_ints = [1, {4 * gates}, 3]> () r_shape = Constant <value_ints = [1, {4 * gates}, 4]> () "
        f"{weights} all, y = {operator} <hidden_size = 4> (s, w, r)",
        outputs="float[A, B, C] y",
    )


def sound() -> bytes:
    """The square root, and nothing wrong."""
    return _of_text("y = Sqrt(x)", outputs="float[N] y")


_LOOP = """
    cond = Constant <value = bool {1}> () zero = Constant <value = float {0.0}> ()
    trips = Constant <value = int64 {9223372036854775807}> ()
    y = Loop (trips, cond, x) <body = b (int64 i, bool c, float[N] v) => (bool c_out, float[N] v_out) {
        c_out = Identity(c) v_out = Sqrt(v)
    }>
"""

HOSTILE: dict[str, Callable[[], bytes]] = {
    **{
        f"{operator} of a missing input": lambda operator=operator: _of_node(operator, ["x", ""])  # type: ignore[misc]
        for operator in ("Sum", "Max", "Min", "Mean")
    },
    "Einsum of a missing input": lambda: _of_node("Einsum", ["x", ""], equation="i,i->i"),
    "a loop whose trip count is empty": lambda: _of_text(
        "none = Constant <value_ints = [0]> () trips = ConstantOfShape <value = int64[1] {1}> (none) "
        "cond = Constant <value = bool {1}> () "
        "y = Loop (trips, cond, x) <body = b (int64 i, bool c, float[N] v) => (bool c_out, float[N] v_out) "
        "{ c_out = Identity(c) v_out = Sqrt(v) }>"
    ),
    "the least integer by minus one": lambda: _of_text(
        "least = Constant <value_ints = [-9223372036854775808]> () minus = Constant <value_ints = [-1]> () "
        "size = Shape(x) least_n = Expand(least, size) y = Div(least_n, minus)",
        outputs="int64[M] y",
    ),
    "an integer by zero": lambda: _of_text(
        "size = Shape(x) none = Sub(size, size) y = Div(size, none)", outputs="int64[M] y"
    ),
    "the least integer modulo minus one": lambda: _of_text(
        "least = Constant <value_ints = [-9223372036854775808]> () minus = Constant <value_ints = [-1]> () "
        "size = Shape(x) least_n = Expand(least, size) y = Mod(least_n, minus)",
        outputs="int64[M] y",
    ),
    "an If of nothing": lambda: _of_text(
        "none = Constant <value_ints = [0]> () cond = ConstantOfShape <value = bool[1] {1}> (none) "
        "y = If (cond) <then_branch = t () => (float[N] a) { a = Sqrt(x) }, else_branch = e () => (float[N] b) { b = Abs(x) }>"
    ),
    "an LSTM of no sequences": lambda: _recurrent("LSTM", 4),
    "a GRU of no sequences": lambda: _recurrent("GRU", 3),
    "GatherND of the least batch_dims": lambda: _of_text(
        "i = Constant <value = int64[1, 1] {0}> () y = GatherND <batch_dims = -9223372036854775808> (x, i)"
    ),
    "a loop without end": lambda: _of_text(_LOOP),
    "an array of everything": lambda: _of_text(
        "start = Constant <value_ints = [0]> () end = Constant <value_ints = [1]> () first = Slice(x, start, end) "
        "size = Constant <value_ints = [60000, 60000]> () y = Expand(first, size)",
        outputs="float[A, B] y",
    ),
    "a range without end": lambda: _of_text(
        "a = Constant <value = int64 {0}> () b = Constant <value = int64 {4000000000}> () c = Constant <value = int64 {1}> () "
        "y = Range(a, b, c)",
        outputs="int64[M] y",
    ),
    "an image as large as a house": lambda: _of_text(
        "shape = Constant <value_ints = [1, 1, 1, 1]> () image = Reshape(first, shape) start = Constant <value_ints = [0]> () "
        "end = Constant <value_ints = [1]> () first = Slice(x, start, end) "
        "sizes = Constant <value_ints = [1, 1, 50000, 50000]> () y = Resize(image, , , sizes)",
        outputs="float[A, B, C, D] y",
    ),
    "memory that doubles": lambda: _of_text(
        "cond = Constant <value = bool {1}> () trips = Constant <value = int64 {60}> () "
        "y = Loop (trips, cond, x) <body = b (int64 i, bool c, float[K] v) => (bool c_out, float[L] v_out) "
        "{ c_out = Identity(c) v_out = Concat <axis = 0> (v, v) }>"
    ),
}
"""What it is -> its bytes; the input is x, float32 [N]."""
