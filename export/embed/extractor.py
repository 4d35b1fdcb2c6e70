"""An ONNX feature extractor of somebody's own: read, checked, and brought to what a bundle's graph may be."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, inliner, numpy_helper, version_converter
from onnx.external_data_helper import load_external_data_for_model

from edge_adapt.export.model_proto import IR_VERSION, OPSET
from edge_adapt.runtime.bundle.graph_check import ALLOWED_OPERATORS
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.words import first_line

HALF_TOLERANCE = 3e-2
"""Largest difference allowed, relative to the largest magnitude, of features that an extractor computes in float16.

That rounds to one part in 2048, and ONNX Runtime leaves roundings out where it joins operators. What the mean leaves of the
features, once it is taken away, was 2 to 10 times smaller where it was measured, so that a single rounding made up to 5e-3. A
graph that computes something else is off by tenths."""

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


@dataclass(frozen=True)
class Extractor:
    """What was read of the file.

    Attributes:
        path: the file, for messages.
        original: the model as it came, less what its output does not need; what the wrapped graph is compared with.
        model: the same in opset 18 and for batches of any size.
        input, output: the names of the tensors.
        input_type: an element type of onnx.TensorProto: uint8, or one of `FLOATS`.
        channels_first: whether it takes [B, C, H, W], and not [B, H, W, C].
        batch: the size of batch that `original` insists on; None for any.
        preprocessing: the size and channels of the images.
        half: whether it computes in float16, and not only stores weights so.
    """

    path: str
    original: onnx.ModelProto
    model: onnx.ModelProto
    input: str
    output: str
    input_type: int
    channels_first: bool
    batch: int | None
    preprocessing: Preprocessing
    half: bool


def read_extractor(path: str | os.PathLike[str], output: str | None = None, image_size: int | None = None) -> Extractor:
    """Read a feature extractor.

    Args:
        path: an ONNX file with one input of images, [B, C, H, W] or [B, H, W, C], float or uint8.
        output: the tensor to take as the features, by name; None takes the only output.
        image_size: height and width, pixels, where the file leaves them open.

    Raises:
        EdgeAdaptError: the file is no such thing, or does what no bundle's graph may; says how to export it again.
    """
    name = os.fspath(path)
    model = _load(Path(path))
    _require_listed_operators(model, name)
    image = _only_input(model, name)
    chosen = _choose_output(model, output, name)
    _keep_what_gives(model, chosen)
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in image.type.tensor_type.shape.dim]
    batch = sizes[0] or None
    channels_first, preprocessing = _layout(sizes, image_size, name)
    original = onnx.ModelProto()
    original.CopyFrom(model)
    converted = _convert(model, name)
    _free_batch(converted, image.name, batch)
    element = image.type.tensor_type.elem_type
    half = _computes_in_half(converted)
    return Extractor(name, original, converted, image.name, chosen, element, channels_first, batch, preprocessing, half)


def _load(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EdgeAdaptError(f"{path} cannot be read ({error.strerror}); give an ONNX file.") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as error:  # protobuf's error is another class in each of its implementations
        raise EdgeAdaptError(f"{path} is not an ONNX model; give the file that an exporter to ONNX wrote.") from error
    if not model.graph.node or not model.graph.output:
        raise EdgeAdaptError(f"{path} is not an ONNX model; give the file that an exporter to ONNX wrote.")
    try:
        load_external_data_for_model(model, str(path.parent))
        return inliner.inline_local_functions(model) if model.functions else model
    except Exception as error:  # a missing file, one outside the folder, one too short: a class each
        raise EdgeAdaptError(
            f"{path} keeps its weights in another file, which cannot be read ({first_line(error)}); put it beside {path.name}, "
            "or export to one file."
        ) from error


def _require_listed_operators(model: onnx.ModelProto, name: str) -> None:
    used = {
        f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for node in _nodes(model.graph)
    }
    unknown = sorted(used - ALLOWED_OPERATORS)
    if unknown:
        raise EdgeAdaptError(
            f"{name} uses operators that a bundle's graphs may not ({', '.join(unknown)}); export it with operators that "
            "docs/bundle-format.md lists."
        )


def _only_input(model: onnx.ModelProto, name: str) -> onnx.ValueInfoProto:
    """The input that images go to; weights are inputs too in old files, and no longer afterwards."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        listed = ", ".join(value.name for value in inputs) or "none"
        raise EdgeAdaptError(
            f"{name} takes {len(inputs)} inputs ({listed}) where one is needed, the images; export the image encoder alone."
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in (*FLOATS, TensorProto.UINT8) or len(kind.shape.dim) != 4:
        raise EdgeAdaptError(
            f"{name} takes {inputs[0].name} as {_described(kind)} where images are needed, float or uint8, in four dimensions; "
            "export the image encoder alone."
        )
    image = onnx.ValueInfoProto()
    image.CopyFrom(inputs[0])
    model.graph.ClearField("input")
    model.graph.input.append(image)
    return image


def _choose_output(model: onnx.ModelProto, output: str | None, name: str) -> str:
    outputs = [value.name for value in model.graph.output]
    tensors = {tensor for node in model.graph.node for tensor in node.output if tensor}
    if output is None:
        if len(outputs) > 1:
            raise EdgeAdaptError(
                f"{name} has {len(outputs)} outputs ({', '.join(outputs)}); name the one with the features with --output-name."
            )
        output = outputs[0]
    elif output not in tensors:
        raise EdgeAdaptError(f"{name} has no tensor {output!r}; its outputs are {', '.join(outputs)}.")
    kinds = {value.name: value.type.tensor_type for value in model.graph.output}
    kind = kinds.get(output)
    if kind is not None and kind.elem_type not in FLOATS:
        raise EdgeAdaptError(
            f"{name} gives {output} as {_described(kind)} where float features are needed; name another tensor with "
            "--output-name."
        )
    return output


def _layout(sizes: list[int | None], image_size: int | None, name: str) -> tuple[bool, Preprocessing]:
    """Whether channels come first, and the size of the images."""
    shown = ", ".join("any" if size is None else str(size) for size in sizes)
    if sizes[1] in (1, 3):
        channels, height, width = sizes[1], sizes[2], sizes[3]
    elif sizes[3] in (1, 3):
        channels, height, width = sizes[3], sizes[1], sizes[2]
    else:
        raise EdgeAdaptError(
            f"{name} takes images [{shown}], in which neither the second nor the last dimension is 1 or 3 channels; export it "
            "with its channels fixed."
        )
    if image_size is not None and {height, width} - {None, image_size}:
        raise EdgeAdaptError(f"{name} takes images [{shown}], whose size is fixed; leave out --image-size.")
    height, width = height or image_size, width or image_size
    if height is None or width is None:
        raise EdgeAdaptError(f"{name} takes images of any size, [{shown}]; choose theirs with --image-size.")
    assert channels is not None
    return sizes[1] in (1, 3), Preprocessing(height, width, channels)


def _keep_what_gives(model: onnx.ModelProto, output: str) -> None:
    """Drop the nodes, weights and outputs that this tensor does not need; it becomes the only output."""
    needed, kept = {output}, []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(_read_by(node))
    del model.graph.node[:]
    model.graph.node.extend(reversed(kept))
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=output))  # what it is, a trial run tells
    model.graph.ClearField("value_info")


def _convert(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The model in opset 18."""
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if version != OPSET:
        try:
            model = version_converter.convert_version(model, OPSET)
        except Exception as error:  # the converter raises what its C++ side throws
            reason = first_line(error).rpartition("failed: ")[2]  # before that stands a line of its source
            raise EdgeAdaptError(
                f"{name} uses operator set {version}, which cannot be converted to {OPSET} ({reason}); export it "
                f"again with opset_version={OPSET}."
            ) from error
    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    return model


def _free_batch(model: onnx.ModelProto, image: str, batch: int | None) -> None:
    """Let the batch have any size: in the input, and where a reshape of what follows from it repeats the size.

    Whether that was all is for a trial run to tell.
    """
    dimension = model.graph.input[0].type.tensor_type.shape.dim[0]
    dimension.Clear()
    dimension.dim_param = "B"
    model.graph.ClearField("value_info")
    if batch is None:
        return
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    follows = {image}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        if not follows & set(node.input):
            continue
        follows |= set(node.output)
        if node.op_type == "Reshape" and node.input[0] in follows and node.input[1] in constants:
            shape = constants[node.input[1]]
            if shape.size and shape[0] == batch and 0 not in shape:
                name = f"{node.output[0]}/shape_for_any_batch"
                free = np.concatenate([[0], shape[1:]]).astype(np.int64)  # 0: as in the tensor that is reshaped
                model.graph.initializer.append(numpy_helper.from_array(free, name))
                node.input[1] = name
                del node.attribute[:]  # allowzero, which would take 0 at its word


def _computes_in_half(model: onnx.ModelProto) -> bool:
    """Whether a tensor that is no constant is float16."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    constants = {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return any(
        value.type.tensor_type.elem_type == TensorProto.FLOAT16 and value.name not in constants
        for value in (*graph.input, *graph.value_info, *graph.output)
    )


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _read_by(node: onnx.NodeProto) -> Iterable[str]:
    """The tensors that a node reads, those that its subgraphs take from outside among them."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in _nodes(attribute.g):
                yield from inner.input
            yield from (value.name for value in attribute.g.output)


def _described(kind: Any) -> str:
    """An element type and shape, as messages show them."""
    element = TensorProto.DataType.Name(kind.elem_type).lower()
    sizes = ", ".join(
        str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param or "any" for dim in kind.shape.dim
    )
    return f"{element} [{sizes}]"
