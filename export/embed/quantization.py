"""Smaller forms of the embed graph: weights stored as float16, or weights and activations in 8 bits."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edge_adapt.export.model_proto import finish
from edge_adapt.runtime.contract import BATCH
from edge_adapt.runtime.errors import EdgeAdaptError

_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_BETWEEN = ("Relu", "Clip", "LeakyRelu", "MaxPool")
"""What ONNX Runtime computes in 8 bits as well, or makes part of the convolution before."""


def store_as_float16(graph: bytes) -> bytes:
    """A graph that computes in float32 as before, from weights stored as float16, which ONNX Runtime widens when it loads it.

    Vectors, such as biases, stay float32: they are small.

    Raises:
        EdgeAdaptError: a weight is beyond float16's range.
    """
    model = onnx.load_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or len(tensor.dims) < 2:
            continue
        with np.errstate(over="ignore"):
            halves = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(halves).all():
            raise EdgeAdaptError(
                f"the weight {tensor.name} is beyond the range of float16, 65504; take another --precision."
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halves, f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
    return finish(model)


def quantize(graph: bytes, images: NDArray[np.uint8]) -> bytes:
    """A graph whose convolutions and linear layers work on 8 bits, by ONNX Runtime's own static quantization (QDQ).

    Activations are uint8 by the least and the largest value seen. Weights are int8, symmetric, with a scale for each output
    channel, and use 7 of the 8 bits: processors without VNNI add two products of a uint8 and an int8 in 16 bits, which 8 bits
    overflow, and then the features are wrong (with AVX2 a cosine of 0.85 to the right ones). With 7 bits every processor gives
    the same integers. What comes before the first of these layers, the normalization of pixels, and what follows the last, the
    pooling of the last feature map and the post-processing of the features, stays float32; in a network of depthwise convolutions
    so does everything through its first one and the layer after that (see `_of_the_first_depthwise`).

    Args:
        graph: `embed.onnx`, serialized, in float32.
        images: to find the ranges of the activations with, uint8 [I, H, W, C].

    Raises:
        EdgeAdaptError: the graph has nothing to quantize.
    """
    # Not part of a device's ONNX Runtime alone: it needs the package onnx.
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    model = onnx.load_from_string(graph)
    _pool_after_relu(model.graph)
    chosen = _name_nodes_to_quantize(model.graph)
    if not chosen:
        raise EdgeAdaptError("the backbone has no convolution or linear layer to quantize; take another --precision.")
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        quantize_static(
            str(source),
            str(target),
            _Reader(images),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_quantize=chosen,
        )
        quantized = onnx.load(target)
    _share_equal_tensors(quantized.graph)
    _name_briefly(quantized.graph)
    return finish(quantized)


def _share_equal_tensors(graph: onnx.GraphProto) -> None:
    """Keep one of equal constants, such as the zero points of symmetric weights: a thirtieth of a small network."""
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    shared = {}
    for tensor in list(graph.initializer):
        array = numpy_helper.to_array(tensor)
        kept = first.setdefault((tensor.data_type, tuple(tensor.dims), array.tobytes()), tensor.name)
        if kept != tensor.name:
            shared[tensor.name] = kept
            graph.initializer.remove(tensor)
    for node in graph.node:
        node.input[:] = [shared.get(name, name) for name in node.input]


def _name_briefly(graph: onnx.GraphProto) -> None:
    """Number the tensors, whose long names are a fortieth of a small network's file."""
    told = {item.name for item in (*graph.input, *graph.output)}
    found = [tensor.name for tensor in graph.initializer] + [
        name for node in graph.node for name in node.output if name
    ]
    brief = {name: str(number) for number, name in enumerate(name for name in found if name not in told)}
    for tensor in graph.initializer:
        tensor.name = brief.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [brief.get(name, name) for name in node.input]
        node.output[:] = [brief.get(name, name) for name in node.output]


def _pool_after_relu(graph: onnx.GraphProto) -> None:
    """Turn a MaxPool followed by a ReLU round, which gives the same numbers.

    A ReLU joins the convolution before it, and a MaxPool works on 8 bits as they are; the other way round it would need two
    scales, and ONNX Runtime computes it in float32.
    """
    readers = Counter(name for node in graph.node for name in node.input)
    makers = {node.output[0]: node for node in graph.node}
    for relu in [node for node in graph.node if node.op_type == "Relu"]:
        pool = makers.get(relu.input[0])
        if pool is None or pool.op_type != "MaxPool" or len(pool.output) > 1 or readers[pool.output[0]] > 1:
            continue
        source, between, result = pool.input[0], pool.output[0], relu.output[0]
        turned = onnx.NodeProto()
        turned.CopyFrom(pool)
        turned.input[0], turned.output[0] = between, result
        pool.CopyFrom(onnx.helper.make_node("Relu", [source], [between]))
        relu.CopyFrom(turned)
        makers |= {between: pool, result: relu}


def _name_nodes_to_quantize(graph: onnx.GraphProto) -> list[str]:
    """Give every node a name, and list those to quantize.

    They are the layers with weights, what lies between them, and additions of two computed tensors, as residual ones are; an
    addition of a constant is normalization or post-processing.
    """
    constants = {tensor.name for tensor in graph.initializer}
    quantized: set[str] = set()
    chosen = []
    weighted = [node for node in graph.node if node.op_type in _WEIGHTED and node.input[1] in constants]
    left = {node.output[0] for node in weighted[: _of_the_first_depthwise(weighted)]}
    for index, node in enumerate(graph.node):
        node.name = f"node_{index}"
        is_weighted = node.op_type in _WEIGHTED and node.input[1] in constants and node.output[0] not in left
        follows = node.op_type in _BETWEEN and node.input[0] in quantized
        adds_two = node.op_type == "Add" and quantized.issuperset(node.input)
        if is_weighted or follows or adds_two:
            chosen.append(node.name)
            quantized.update(node.output)
    return chosen


def _of_the_first_depthwise(weighted: Sequence[onnx.NodeProto]) -> int:
    """How many of the first layers with weights lead up to a depthwise convolution and the one that joins its channels again.

    A depthwise convolution sums nine products of one channel, so that nothing averages the rounding of its few weights out, and
    the first has the widest range to round. With 7 bits EfficientNet-Lite0 lost 0.7 points with 1 shot and 0.3 with 5 (means of
    three sets of photos); with its first three layers in float32 it loses 0.2 and 0.1, for a tenth of the time.
    """
    for number, node in enumerate(weighted):
        if any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute):
            return number + 2
    return 0


class _Reader:
    """`onnxruntime.quantization.CalibrationDataReader`: the feeds of one batch after another, then None."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        batches = (images[start : start + BATCH] for start in range(0, len(images), BATCH))
        self._feeds = ({"images": batch} for batch in batches)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._feeds, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep advice on preparing the graph, which the exporter has done, off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
