"""The gradient head as two ONNX graphs, `adapt` and `predict`, of ordinary inference operators.

Softmax cross-entropy on a linear classifier has a closed-form gradient, so the inner loop needs no autograd: it is an ONNX `Loop`
whose trip count is an input. `edge_adapt.gradient_head` defines the head and states its step; this file writes that step out.

Two exact rearrangements make it fast:

- The bias is one more feature, of the constant value sqrt(bias_rate): its step is then the weights' step.
- With G = F F^T (F: support features with that constant, [M, D + 1]) the logits of the support set follow without the weights,
  Z <- Z + G E with E the weighted error of the step, and the weights are W_0 + (sum of E)^T F at the end: [M, M] x [M, N] a step,
  whatever D. When M is large against D the plain form, through the weights, costs less; an `If` chooses by size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_adapt.export.model_proto import finish

SUPPORT_PER_FEATURE = 2
"""The plain form is taken from M > 2 (D + 1) on: there a step through G has more products than a step through the weights."""

HEAD_STATE = ("weight", "bias")
"""The names of the head state's tensors, in the order of `adapt`'s outputs."""


@dataclass(frozen=True)
class GradientHeadParameters:
    """What meta-training learned of a gradient head.

    Attributes:
        scale: of the prototype initialization; None starts from zero.
        rates: the inner learning rate of each trained step, at least one; steps beyond reuse the last.
        bias_rate: the bias's rate relative to the weights'.
    """

    scale: float | None
    rates: tuple[float, ...]
    bias_rate: float


_ADAPT = """
<ir_version: 8, opset_import: ["" : 18]>
adapt (float[M, {D}] features, int64[M] targets, int64 n_way, int64 steps)
    => (float[N, {D}] weight, float[N] bias, float[S] losses)
{{
    ways = Unsqueeze(n_way, first_axis)
    one_hot = OneHot <axis = -1> (targets, ways, off_on)
    shots = ReduceSum <keepdims = 0> (one_hot, first_axis)
    shots_or_one = Max(shots, one)
    class_share = Div(one_hot, shots_or_one)
    own_share = ReduceSum(class_share, last_axis)
    ways_float = CastLike(n_way, one)
    share = Div(own_share, ways_float)

    count = Shape <end = 1> (features)
    column = Concat <axis = 0> (count, one_int)
    steps_column = Unsqueeze(steps, first_axis)
    constant_feature = Expand(bias_feature, column)
    inputs = Concat <axis = 1> (features, constant_feature)

    {initialization}
    logits_0 = Gemm <transB = 1> (inputs, weights_0)

    true = Constant <value = bool {{1}}> ()
    support_is_large = Greater(count, largest_support_for_gram)
    weights, probabilities = If (support_is_large) <
        then_branch = through_weights () => (float[N, {D1}] weights_plain, float[S, M] probabilities_plain) {{
            weights_plain, probabilities_plain = Loop (steps, true, weights_0) <body = weight_step
                (int64 step, bool continue, float[N, {D1}] w) => (bool still, float[N, {D1}] w_next, float[M] own) {{
                still = Identity(continue)
                index = Min(step, last_rate)
                rate = Gather(rates, index)
                z = Gemm <transB = 1> (inputs, w)
                p = Softmax <axis = -1> (z)
                difference = Sub(one_hot, p)
                step_share = Mul(share, rate)
                e = Mul(difference, step_share)
                w_next = Gemm <transA = 1> (e, inputs, w)
                p_own = Mul(p, one_hot)
                own = ReduceSum <keepdims = 0> (p_own, last_axis)
            }}>
        }},
        else_branch = through_gram () => (float[N, {D1}] weights_gram, float[S, M] probabilities_gram) {{
            gram_raw = Gemm <transB = 1> (inputs, inputs)
            row_share = Transpose(share)
            gram = Mul(gram_raw, row_share)
            errors_0 = Sub(one_hot, one_hot)
            logits, errors, probabilities_gram = Loop (steps, true, logits_0, errors_0) <body = gram_step
                (int64 step, bool continue, float[M, N] z, float[M, N] sum)
                => (bool still, float[M, N] z_next, float[M, N] sum_next, float[M] own) {{
                still = Identity(continue)
                index = Min(step, last_rate)
                rate = Gather(rates, index)
                p = Softmax <axis = -1> (z)
                difference = Sub(one_hot, p)
                e = Mul(difference, rate)
                sum_next = Add(sum, e)
                z_next = Gemm(gram, e, z)
                p_own = Mul(p, one_hot)
                own = ReduceSum <keepdims = 0> (p_own, last_axis)
            }}>
            shared_errors = Mul(errors, share)
            weights_gram = Gemm <transA = 1> (shared_errors, inputs, weights_0)
        }}
    >

    weight = Slice(weights, zero_int, feature_size, last_axis)
    bias_column = Slice(weights, feature_size, feature_size_1, last_axis)
    bias_scaled = Mul(bias_column, bias_feature)
    bias = Squeeze(bias_scaled, last_axis)

    steps_and_count = Concat <axis = 0> (steps_column, count)
    probabilities_by_step = Reshape <allowzero = 1> (probabilities, steps_and_count)
    possible = Max(probabilities_by_step, smallest)
    log_probabilities = Log(possible)
    weighted = MatMul(log_probabilities, share)
    gains = Squeeze(weighted, last_axis)
    losses = Neg(gains)
}}
"""

_PROTOTYPE = """
    prototypes = Gemm <transA = 1> (class_share, features)
    scaled = Mul(prototypes, scale)
    doubled = Add(scaled, scaled)
    squares = Mul(scaled, prototypes)
    norms = ReduceSum(squares, last_axis)
    over_bias_feature = Div(norms, bias_feature)
    bias_0 = Neg(over_bias_feature)
    weights_0 = Concat <axis = 1> (doubled, bias_0)
"""

_ZERO = """
    width = Shape <start = 1> (inputs)
    weights_shape = Concat <axis = 0> (ways, width)
    weights_0 = ConstantOfShape(weights_shape)
"""

_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, float[N, {D}] weight, float[N] bias) => (float[B, N] logits)
{{
    logits = Gemm <transB = 1> (features, weight, bias)
}}
"""


def gradient_head_graphs(parameters: GradientHeadParameters, feature_size: int) -> dict[str, bytes]:
    """The serialized graphs `adapt.onnx` and `predict.onnx`.

    Args:
        parameters: the learned numbers, which become constants of `adapt`.
        feature_size: D.
    """
    initialization = _ZERO if parameters.scale is None else _PROTOTYPE
    sizes = {"D": feature_size, "D1": feature_size + 1}
    adapt = parser.parse_model(_ADAPT.format(initialization=initialization, **sizes))
    constants: dict[str, NDArray[Any]] = {
        "first_axis": np.array([0], np.int64),
        "last_axis": np.array([-1], np.int64),
        "zero_int": np.array([0], np.int64),
        "one_int": np.array([1], np.int64),
        "one": np.array(1, np.float32),
        "off_on": np.array([0, 1], np.float32),
        "feature_size": np.array([feature_size], np.int64),
        "feature_size_1": np.array([feature_size + 1], np.int64),
        "largest_support_for_gram": np.array([SUPPORT_PER_FEATURE * (feature_size + 1)], np.int64),
        "bias_feature": np.array([[parameters.bias_rate**0.5]], np.float32),
        "rates": np.array(parameters.rates, np.float32),
        "last_rate": np.array(len(parameters.rates) - 1, np.int64),
        "smallest": np.array(np.finfo(np.float32).tiny, np.float32),
    }
    if parameters.scale is not None:
        constants["scale"] = np.array(parameters.scale, np.float32)
    adapt.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    predict = parser.parse_model(_PREDICT.format(**sizes))
    return {"adapt.onnx": finish(adapt), "predict.onnx": finish(predict)}
