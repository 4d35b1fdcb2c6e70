"""The heads of the metric-based methods as ONNX graphs: `adapt` keeps the support set or its means, and `predict` compares.

`edge_adapt.methods` defines the heads, each in the file of its method. None takes steps: `adapt` passes over `steps` and gives no
losses.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.model_proto import finish

LEAST_LENGTH = 1e-12
"""A vector of zeros has no direction, and stays one of zeros: as `torch.nn.functional.normalize` has it."""

_ADAPT = """
<ir_version: 8, opset_import: ["" : 18]>
adapt (float[M, {D}] features, int64[M] targets, int64 n_way, int64 steps) => ({state}, float[0] losses)
{{
    own_class = Unsqueeze(targets, minus_one)
    classes = Range(first, n_way, step_by)
    is_own_class = Equal(own_class, classes)
    one_hot = Cast <to = 1> (is_own_class)
    shots = ReduceSum(one_hot, zero)
    share = Div(one_hot, shots)
    {rest}
    losses = ConstantOfShape(zero)
}}
"""

_UNIT_LENGTH = """
    lengths_of_{vectors} = ReduceL2({vectors}, minus_one)
    divisors_of_{vectors} = Max(lengths_of_{vectors}, least_length)
    {result} = Div({vectors}, divisors_of_{vectors})
"""

_PROTONET_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, float[N, {D}] prototypes) => (float[B, N] logits)
{{
    squares = ReduceSumSquare <keepdims = 0> (prototypes, minus_one)
    logits = Gemm <transB = 1, alpha = {double_scale}, beta = {minus_scale}> (features, prototypes, squares)
}}
"""

_MATCHING = """
    scores = Gemm <transB = 1, alpha = {scale}> (query, {support})
    attention = Softmax <axis = -1> (scores)
    of_classes = MatMul(attention, share)
    possible = Max(of_classes, smallest)
    logits = Log(possible)
"""

_MATCHING_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, float[M, {D}] support, float[M, N] share) => (float[B, N] logits)
{{
    {unit_query}
    {matching}
}}
"""

_SIAMESE_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, float[M, {D}] support, float[M, N] share) => (float[B, N] logits)
{{
    query = Mul(features, weights)
    queries = Shape <end = 1> (features)
    count = Squeeze(queries)
    true = Constant <value = bool {{1}}> ()
    rows = Loop (count, true) <body = one_query
        (int64 index, bool continue) => (bool continue, float[M] distance) {{
        one = Gather(query, index)
        difference = Sub(support, one)
        distance = ReduceL1 <keepdims = 0> (difference, minus_one)
    }}>
    images = Shape <end = 1> (support)
    queries_and_images = Concat <axis = 0> (queries, images)
    distances = Reshape(rows, queries_and_images)
    logits = Gemm <alpha = -1.0> (distances, share, bias)
}}
"""

_CONSTANTS: dict[str, NDArray[Any]] = {
    "zero": np.array([0], np.int64),
    "axis_one": np.array([1], np.int64),
    "axis_two": np.array([2], np.int64),
    "minus_one": np.array([-1], np.int64),
    "first": np.array(0, np.int64),
    "step_by": np.array(1, np.int64),
    "least_length": np.array(LEAST_LENGTH, np.float32),
    "smallest": np.array(np.finfo(np.float32).tiny, np.float32),
}


def protonet_graphs(scale: float, feature_size: int) -> HeadGraphs:
    """`edge_adapt.methods.protonet.ProtoNetHead` as graphs.

    Args:
        scale: of the squared distance.
        feature_size: D.
    """
    means = "prototypes = Gemm <transA = 1> (share, features)"
    adapt = _ADAPT.format(D=feature_size, state=f"float[N, {feature_size}] prototypes", rest=means)
    predict = _PROTONET_PREDICT.format(D=feature_size, double_scale=f"{2 * scale:.9e}", minus_scale=f"{-scale:.9e}")
    return HeadGraphs(finished(adapt), finished(predict), ("prototypes",))


def matching_graphs(scale: float, feature_size: int) -> HeadGraphs:
    """`edge_adapt.methods.matching.MatchingHead` as graphs.

    Args:
        scale: of the cosines.
        feature_size: D.
    """
    unit_support, unit_query = (_UNIT_LENGTH.format(vectors="features", result=of) for of in ("support", "query"))
    matching = _MATCHING.format(scale=f"{scale:.9e}", support="support")
    predict = _MATCHING_PREDICT.format(D=feature_size, unit_query=unit_query, matching=matching)
    return HeadGraphs(keeping(unit_support, feature_size), finished(predict), ("support", "share"))


def matched(vectors: str, scale: float) -> str:
    """Text of a graph: the logits of queries, which are `vectors`, by their cosines with the rows of `support`."""
    unit_query = _UNIT_LENGTH.format(vectors=vectors, result="query")
    unit_support = _UNIT_LENGTH.format(vectors="support", result="unit_support")
    return unit_query + unit_support + _MATCHING.format(scale=f"{scale:.9e}", support="unit_support")


def siamese_graphs(weights: NDArray[np.float32], bias: float) -> HeadGraphs:
    """`edge_adapt.methods.siamese.SiameseHead` as graphs.

    `predict` takes one query after the other: the differences of all of them at once, [B, M, D], would be gigabytes in a large
    evaluation.

    Args:
        weights: of the features, float32 [D].
        bias: of a pair's logit.
    """
    adapt = keeping("support = Mul(features, weights)", len(weights), weights=weights)
    predict = _SIAMESE_PREDICT.format(D=len(weights))
    return HeadGraphs(adapt, finished(predict, weights=weights, bias=np.array(bias, np.float32)), ("support", "share"))


def keeping(support: str, feature_size: int, **learned: NDArray[np.float32]) -> bytes:
    """An `adapt` that keeps the support set, as `support` makes it of the features."""
    state = f"float[M, {feature_size}] support, float[M, N] share"
    return finished(_ADAPT.format(D=feature_size, state=state, rest=support), **learned)


def finished(text: str, **learned: NDArray[np.float32]) -> bytes:
    """A graph from its text, with those constants that it names."""
    model = parser.parse_model(text)
    names = set(re.findall(r"\w+", text))
    constants = {name: array for name, array in {**_CONSTANTS, **learned}.items() if name in names}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return finish(model)
