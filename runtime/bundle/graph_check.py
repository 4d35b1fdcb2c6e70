"""Refuses an ONNX graph that does more than compute, before ONNX Runtime sees it.

A graph can name files to read its tensors from, operators of other libraries, functions and metadata that the
runtime obeys. This walks the protobuf wire format of a ModelProto (onnx.proto of ONNX 1.x; field numbers below are
from it) without the onnx package: fields that docs/bundle-format.md does not list are refused, names and numbers are
passed over by their length, nothing is copied. It says nothing about types or shapes: that is ONNX Runtime's part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, NoReturn

from edge_adapt.runtime.bundle.strict_json import quoted
from edge_adapt.runtime.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Mapping

OPERATORS_BY_KIND = {
    "Arithmetic": "Abs Add Ceil Clip Div Erf Exp Floor Log Max Mean Min Mod Mul Neg Pow Reciprocal Round Sign Sqrt "
    "Sub Sum Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan Tanh",
    "Logic": "And Equal Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Not Or Where Xor",
    "Activations": "Celu Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink "
    "Sigmoid Softmax Softplus Softsign Swish ThresholdedRelu",
    "Layers": "Attention AveragePool BatchNormalization Conv ConvTranspose GRU Gemm GlobalAveragePool GlobalLpPool "
    "GlobalMaxPool GroupNormalization InstanceNormalization LRN LSTM LayerNormalization LpNormalization LpPool "
    "MatMul MaxPool MeanVarianceNormalization RMSNormalization RNN RotaryEmbedding",
    "Reductions": "ArgMax ArgMin CumSum Einsum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean "
    "ReduceMin ReduceProd ReduceSum ReduceSumSquare TopK",
    "Shapes and selection": "Cast CastLike CenterCropPad Compress Concat Constant ConstantOfShape DepthToSpace "
    "Expand EyeLike Flatten Gather GatherElements GatherND GridSample Identity NonZero OneHot Pad Range Reshape "
    "Resize ReverseSequence ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose "
    "Trilu Unsqueeze",
    "Quantization": "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul "
    "QuantizeLinear",
    "Control flow": "If Loop",
}
ALLOWED_OPERATORS = frozenset(name for names in OPERATORS_BY_KIND.values() for name in names.split())
"""The operators that a graph may use, all of the standard domain."""

MAX_DEPTH = 16
"""How deep subgraphs may lie in one another."""
MAX_FIELDS = 2_000_000
"""How many protobuf fields a graph may have: what bounds the time that the walk takes."""

_OPERATORS = frozenset(name.encode("ascii") for name in ALLOWED_OPERATORS)
_DOMAINS = (b"", b"ai.onnx")

_VARINT, _BYTES, _FIXED32 = 0, 2, 5  # wire types; no permitted field is a group or, unpacked, 8 bytes wide

_EXTERNAL = "keeps a tensor in another file (external data), and a bundle is one file"
_METADATA = "carries metadata (metadata_props), which a runtime may obey and the exporter strips"


class _Message(NamedTuple):
    """A message of onnx.proto: the tags (field number and wire type) that may be there."""

    name: str
    watched: frozenset[int]
    """Tags of the fields that the walk looks into."""
    allowed: frozenset[int]
    """The tags of all permitted fields."""
    faults: Mapping[int, str]
    """What it means that another field, by its number, is there."""


def _message(
    name: str,
    *,
    look: tuple[int, ...] = (),
    skip: tuple[int, ...] = (),
    integers: tuple[int, ...] = (),
    floats: tuple[int, ...] = (),
    faults: Mapping[int, str] | None = None,
) -> _Message:
    """From field numbers: those looked into, those passed over by their length, and numbers that stand alone."""
    watched = frozenset(number << 3 | _BYTES for number in look)
    passed = {number << 3 | _BYTES for number in skip} | {number << 3 | _VARINT for number in integers}
    passed |= {number << 3 | _FIXED32 for number in floats}
    return _Message(name, watched, watched | passed, faults or {})


_MODEL = _message(
    "model",
    look=(7, 8),  # graph, opset_import
    skip=(2, 3, 4, 6),  # producer_name, producer_version, domain, doc_string
    integers=(1, 5),  # ir_version, model_version
    faults={
        14: _METADATA,
        20: "carries training information, and a bundle's graphs only infer",
        25: "has functions of its own, and a bundle's graphs use listed operators only",
    },
)
_OPSET = _message("opset import", look=(1,), integers=(2,))  # domain; version
_GRAPH = _message(
    "graph",
    look=(1, 5, 15),  # node, initializer, sparse_initializer
    skip=(2, 10, 11, 12, 13, 14),  # name, doc_string, input, output, value_info, quantization_annotation
    faults={16: _METADATA},
)
_NODE = _message(
    "node",
    look=(4, 5, 7),  # op_type, attribute, domain
    skip=(1, 2, 3, 6),  # input, output, name, doc_string
    faults={8: "calls a function of its own, and a bundle's graphs use listed operators only", 9: _METADATA},
)
_ATTRIBUTE = _message(
    "attribute",
    look=(5, 6, 10, 11, 22, 23),  # t, g, tensors, graphs, sparse_tensor, sparse_tensors
    skip=(1, 4, 7, 8, 9, 13),  # name, s, floats, ints, strings, doc_string
    integers=(3, 8, 20),  # i, ints, type
    floats=(2, 7),  # f, floats
)
_TENSOR = _message(
    "tensor",
    skip=(1, 4, 5, 7, 8, 9, 10, 11, 12),  # dims, the typed data, name, raw_data, doc_string
    integers=(1, 2, 5, 7, 11),  # dims, data_type, int32_data, int64_data, uint64_data
    floats=(4,),  # float_data
    faults={13: _EXTERNAL, 14: _EXTERNAL, 16: _METADATA},
)
_SPARSE_TENSOR = _message("sparse tensor", look=(1, 2), skip=(3,), integers=(3,))  # values, indices; dims


def check_graph(data: bytes, name: str) -> None:
    """Checks the bytes of an ONNX model, which messages call `name`, in time linear in its fields.

    Raises:
        BundleError: external data anywhere (subgraphs and sparse tensors included), an operator outside
            ALLOWED_OPERATORS or of another domain, functions, training information, metadata, an unknown
            field, subgraphs nested deeper than MAX_DEPTH, or bytes that are no well-formed model.
    """
    # ONNX Runtime takes bytes with this mark for its own format, whatever else they are.
    if data[4:8] == b"ORTM":
        raise BundleError(f"{name} is in ONNX Runtime's own format, and a bundle holds ONNX.")
    _Walk(data, name).model()


class _Walk:
    """One pass over the bytes; `_left` is how many fields it may still meet."""

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._left = MAX_FIELDS

    def model(self) -> None:
        graphs = opsets = 0
        for tag, start, end in self._fields(0, len(self._data), _MODEL):
            if tag == 7 << 3 | _BYTES:
                graphs += 1
                self._graph(start, end, 0)
            else:
                opsets += 1
                for _, domain_start, domain_end in self._fields(start, end, _OPSET):
                    self._domain(domain_start, domain_end)
        # Of several graphs protobuf makes one, merged; nothing writes that.
        if graphs != 1 or not opsets:
            self._fail("is not an ONNX model with one graph and an operator set")

    def _graph(self, start: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._fail(f"has subgraphs nested deeper than {MAX_DEPTH}")
        for tag, first, last in self._fields(start, end, _GRAPH):
            if tag == 1 << 3 | _BYTES:
                self._node(first, last, depth)
            elif tag == 5 << 3 | _BYTES:
                self._fields(first, last, _TENSOR)
            else:
                self._sparse_tensor(first, last)

    def _node(self, start: int, end: int, depth: int) -> None:
        has_operator = False
        for tag, first, last in self._fields(start, end, _NODE):
            if tag == 4 << 3 | _BYTES:
                operator = self._data[first:last]
                if operator not in _OPERATORS:
                    self._fail(f"uses the operator {_quoted(operator)}, which a bundle's graphs may not")
                has_operator = True
            elif tag == 7 << 3 | _BYTES:
                self._domain(first, last)
            else:
                self._attribute(first, last, depth)
        if not has_operator:
            self._fail("has a node without an operator")

    def _attribute(self, start: int, end: int, depth: int) -> None:
        for tag, first, last in self._fields(start, end, _ATTRIBUTE):
            number = tag >> 3
            if number in (6, 11):
                self._graph(first, last, depth + 1)
            elif number in (22, 23):
                self._sparse_tensor(first, last)
            else:
                self._fields(first, last, _TENSOR)

    def _sparse_tensor(self, start: int, end: int) -> None:
        for _, first, last in self._fields(start, end, _SPARSE_TENSOR):
            self._fields(first, last, _TENSOR)

    def _domain(self, start: int, end: int) -> None:
        domain = self._data[start:end]
        if domain not in _DOMAINS:
            self._fail(f"uses the operator domain {_quoted(domain)}, and a bundle's graphs the standard one only")

    def _fields(self, position: int, end: int, message: _Message) -> list[tuple[int, int, int]]:
        """The watched fields in position..end as (tag, start, end); refuses those that are not allowed."""
        data, watched, allowed, left = self._data, message.watched, message.allowed, self._left
        found = []
        while position < end:
            left -= 1
            if left < 0:
                self._fail(f"has more than {MAX_FIELDS} protobuf fields")
            # Most tags, lengths and values are one byte long; to read those here takes a third of the time.
            tag = data[position]
            position += 1
            if tag > 0x7F:
                tag, position = self._varint(position - 1, end)
            if tag not in allowed:
                position = self._refuse_unless_default(tag, position, end, message)
            elif tag & 7 == _FIXED32:
                position += 4
            else:
                value = data[position] if position < end else 0  # missing: then position != end below
                position += 1
                if value > 0x7F:
                    value, position = self._varint(position - 1, end)
                if tag & 7 == _BYTES:
                    start = position
                    position += value
                    if tag in watched:
                        found.append((tag, start, position))
        if position != end:
            self._fail("is malformed")
        self._left = left
        return found

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        """The integer of at most ten bytes at `position`, and the position behind it."""
        value = shift = 0
        for position in range(position, min(position + 10, end)):  # noqa: B020, PLR1704
            byte = self._data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, position + 1
            shift += 7
        self._fail("is malformed")

    def _refuse_unless_default(self, tag: int, position: int, end: int, message: _Message) -> int:
        """Fails, except that a tensor may say that its data is where it always is (data_location DEFAULT)."""
        if message is _TENSOR and tag == 14 << 3 | _VARINT:
            location, position = self._varint(position, end)
            if location == 0:
                return position
        number = tag >> 3
        self._fail(message.faults.get(number, f"has the unknown {message.name} field {number}"))

    def _fail(self, fault: str) -> NoReturn:
        raise BundleError(f"{self._name} {fault}.")


def _quoted(text: bytes) -> str:
    return quoted(text.decode("utf-8", "replace"))
