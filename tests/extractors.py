"""Small ONNX feature extractors of many kinds, as somebody's own exporter might write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

SIZE, FEATURES = 16, 6

_CONVOLUTION = """
    hidden = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (pixels, kernel, shift)
    active = Relu (hidden)
"""
_TAILS = {
    "pool": "pooled = GlobalAveragePool (active) features = Flatten (pooled)",
    "mean": "features = ReduceMean <keepdims = 0> (active, pixel_axes)",
    "map": "features = Identity (active)",
    "reshape": "pooled = GlobalAveragePool (active) features = Reshape <allowzero = 1> (pooled, flat)",
    "token": "tokens = Reshape (active, token_shape) all = Concat <axis = 1> (token, tokens) "
    "features = ReduceMean <keepdims = 0> (all, second_axis)",
    "labels": "pooled = GlobalAveragePool (active) flattened = Flatten (pooled) features = ArgMax (flattened)",
    "tokens": "features = Reshape (active, token_shape)",
    "two": "pooled = GlobalAveragePool (active) features = Flatten (pooled) logits = Neg (features)",
    "new": "pooled = GlobalAveragePool (active) flattened = Flatten (pooled) features = Gelu (flattened)",
    "foreign": "pooled = GlobalAveragePool (active) flattened = Flatten (pooled) features = com.microsoft.FastGelu (flattened)",
    "unlisted": "pooled = GlobalAveragePool (active) flattened = Flatten (pooled) features = Bernoulli (flattened)",
}


def extractor(
    path: Path,
    *,
    tail: str = "pool",
    batch: str = "N",
    channels_first: bool = True,
    uint8: bool = False,
    opset: int = 18,
    size: str = str(SIZE),
    channels: int = 3,
    extra_input: bool = False,
) -> Path:
    """Write an extractor of one convolution; returns `path`.

    Args:
        tail: what follows the convolution; a key of `_TAILS`.
        batch: the first dimension, a name or a number.
        channels_first: the images are [N, C, H, W], and not [N, H, W, C].
        uint8: it takes uint8, and scales pixels itself.
        opset: of the standard domain.
        size: the height and width, a name or a number.
        channels: of the images.
        extra_input: a second input.
    """
    shape = f"{batch}, {channels}, {size}, {size}" if channels_first else f"{batch}, {size}, {size}, {channels}"
    steps = []
    name = "image"
    if uint8:
        steps += ["as_float = Cast <to = 1> (image)", "scaled = Mul (as_float, reciprocal)"]
        name = "scaled"
    steps.append(f"pixels = Transpose <perm = [0, {'1, 2, 3' if channels_first else '3, 1, 2'}]> ({name})")
    outputs = {
        "labels": f"int64[{batch}, 1] features",
        "map": f"float[{batch}, {FEATURES}, 8, 8] features",
        "tokens": f"float[{batch}, 64, {FEATURES}] features",
        "two": f"float[{batch}, {FEATURES}] features, float[{batch}, {FEATURES}] logits",
    }.get(tail, f"float[{batch}, {FEATURES}] features")
    inputs = f"{'uint8' if uint8 else 'float'}[{shape}] image" + (", float[N, 2] more" if extra_input else "")
    body = "\n".join(steps) + _CONVOLUTION + _TAILS[tail]
    domains = f'"" : {opset}' + (', "com.microsoft" : 1' if tail == "foreign" else "")
    model = parser.parse_model(
        f"<ir_version: 8, opset_import: [{domains}]> extractor ({inputs}) => ({outputs}) {{ {body} }}"
    )
    random = np.random.default_rng(0)
    first = int(batch) if batch.isdigit() else 1
    constants: dict[str, np.ndarray[Any, Any]] = {
        "kernel": random.normal(0, 0.3, (FEATURES, channels, 3, 3)).astype(np.float32),
        "shift": random.normal(0, 0.3, FEATURES).astype(np.float32),
        "reciprocal": np.array(1 / 255, np.float32),
        "flat": np.array([first, FEATURES], np.int64),
        "token": np.zeros((first, 1, FEATURES), np.float32),
        "second_axis": np.array([1], np.int64),
        "pixel_axes": np.array([2, 3], np.int64),
        "token_shape": np.array([0, 64, FEATURES], np.int64),
    }
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants.items() if name in read
    )
    path.write_bytes(model.SerializeToString())
    return path


def with_weights_beside(path: Path) -> Path:
    """Move the weights of the model in `path` into `path`.data, as exporters of large models do; returns `path`."""
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path


def with_weights_as_inputs(path: Path) -> Path:
    """List the weights among the inputs, as files before IR version 4 do; returns `path`."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    model.ir_version = 3
    path.write_bytes(model.SerializeToString())
    return path


def in_half_precision(path: Path) -> Path:
    """Let the model in `path` take, compute and give float16; returns `path`."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    path.write_bytes(model.SerializeToString())
    return path


def in_half_precision_inside(path: Path) -> Path:
    """Let the model in `path` compute in float16, and take and give float32; returns `path`."""
    model = onnx.load(str(in_half_precision(path)))
    graph = model.graph
    for names in (field for node in graph.node for field in (node.input, node.output)):
        for index, name in enumerate(names):
            if name in ("image", "features"):
                names[index] = f"{name}_in_half"
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["image_in_half"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["features_in_half"], ["features"], to=TensorProto.FLOAT))
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    path.write_bytes(model.SerializeToString())
    return path


def with_weights_in_half(path: Path) -> Path:
    """Store the kernel of the model in `path` as float16, and compute in float32; returns `path`."""
    model = onnx.load(str(path))
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel).astype(np.float16), "stored"))
    model.graph.node.insert(0, helper.make_node("Cast", ["stored"], ["kernel"], to=TensorProto.FLOAT))
    path.write_bytes(model.SerializeToString())
    return path
