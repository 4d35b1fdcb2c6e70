"""The gradient head as two ONNX graphs, `adapt` and `predict`, of ordinary inference operators.

Softmax cross-entropy on a linear classifier has a closed-form gradient, so the inner loop needs no autograd: it is an ONNX `Loop`
whose trip count is an input. `edge_adapt.gradient_head` defines the head and states its step; this file writes that step out.

Exact rearrangements make it fast. F [M, D] are the support features, Y [M, N] the one-hot targets, P the probabilities and
share_i = 1 / shots of the class of i, N times what it is in `edge_adapt.gradient_head`; the unit of the rates makes up for that.

- The weights stay in the span of the support features, W = A^T diag(share) F. The prototypes are A = 2 scale Y, and a step adds
  the error E = rate (Y - P) to A. With G = (F F^T + bias_rate) diag(share) it adds G E to the logits of the support set: [M, M] x
  [M, N] a step whatever D. Weights and bias are computed once, at the end.
- bias_rate in G is the bias's part, so A holds bias_rate * sum_i share_i A_i of the bias, and `bias_0` the rest. G's diagonal
  adds up to what the unit divides by.
- A step through the weights costs 2 M D N products. It is less than through G where M is large against D, and where the steps are
  too few to pay for G itself; an `If` chooses.

The carried logits have a second merit: ONNX Runtime cannot overwrite them with their softmax, which is slow in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_adapt.export.head_graphs import HeadGraphs
from edge_adapt.export.model_proto import finish

COST_OF_A_PASS = 20
"""What a step costs beside its products with N columns, in further columns (measured): G, with its M M D products, is taken for
M < D and M < steps (N + 20)."""

HEAD_STATE = ("weight", "bias")
"""The names of the head state's tensors, in the order of `adapt`'s outputs."""


@dataclass(frozen=True)
class GradientHeadParameters:
    """What meta-training learned of a gradient head.

    Attributes:
        scale: of the prototype initialization; None starts from zero.
        rates: the inner learning rate of each trained step, in units of N over the mean squared norm of the support features; at
            least one, and steps beyond reuse the last.
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
    own_class = Unsqueeze(targets, minus_one)
    classes = Range(first, n_way, step_by)
    is_own_class = Equal(own_class, classes)
    one_hot = Cast <to = 1> (is_own_class)
    shots = ReduceSum <keepdims = 0> (one_hot, zero)
    own_shots = Gather(shots, own_class)
    share = Reciprocal(own_shots)
    ways = CastLike(n_way, shots)
    repeats = Mul(steps, none_and_one)
    units_of_steps = Pad <mode = "edge"> (rates, repeats)

    count = Shape(targets)
    columns = Add(n_way, cost_of_a_pass)
    columns_of_all_steps = Mul(columns, steps)
    limit = Min(columns_of_all_steps, feature_size)
    is_gram_cheaper = Less(count, limit)
    true = Constant <value = bool {{1}}> ()
    weight, bias, own_probabilities = If (is_gram_cheaper) <
        then_branch = through_gram () => (float[N, {D}] weight_g, float[N] bias_g, float[S, M, 1] own_g) {{
            products = Gemm <transB = 1> (features, features, bias_rate)
            row_share = Transpose(share)
            gram = Mul(products, row_share)
            flat_gram = Reshape(gram, minus_one)
            row_and_one = Add(count, one)
            diagonal = Slice(flat_gram, zero, end, zero, row_and_one)
            energy = ReduceSum(diagonal)
            unit = Div(ways, energy)
            rates_of_steps = Mul(units_of_steps, unit)
            a_0 = Mul(one_hot, double_scale)
            raw_logits = Gemm(gram, a_0, bias_in_prototype)
            own_logits = Mul(one_hot, raw_logits)
            bias_0 = Gemm <alpha = -0.5> (row_share, own_logits)
            logits_0 = Add(raw_logits, bias_0)
            a_end, logits_end, own_g = Loop (steps, true, a_0, logits_0) <body = gram_step
                (int64 step, bool continue, float[M, N] a, float[M, N] logits)
                => (bool continue, float[M, N] a_next, float[M, N] logits_next, float[M, 1] own) {{
                probabilities = Softmax <axis = -1> (logits)
                own = GatherElements <axis = 1> (probabilities, own_class)
                difference = Sub(one_hot, probabilities)
                rate = Gather(rates_of_steps, step)
                error = Mul(difference, rate)
                a_next = Add(a, error)
                logits_next = Gemm(gram, error, logits)
            }}>
            shared_a = Mul(a_end, share)
            weight_g = Gemm <transA = 1> (shared_a, features)
            bias_row = Gemm <alpha = {bias_rate}> (row_share, a_end, bias_0)
            bias_g = Squeeze(bias_row, zero)
        }},
        else_branch = through_weights () => (float[N, {D}] weight_w, float[N] bias_w, float[S, M, 1] own_w) {{
            squares = ReduceSumSquare(features, minus_one)
            energies = Add(squares, bias_rate)
            energy_column = Gemm <transA = 1> (share, energies)
            energy = Squeeze(energy_column, minus_one)
            unit = Div(ways, energy)
            rates_of_steps = Mul(units_of_steps, unit)
            shared_one_hot = Mul(one_hot, share)
            prototypes = Gemm <transA = 1> (shared_one_hot, features)
            weight_0 = Mul(prototypes, double_scale)
            weighted_squares = Mul(prototypes, weight_0)
            norms = ReduceSum <keepdims = 0> (weighted_squares, minus_one)
            bias_0 = Mul(norms, minus_half)
            weight_w, bias_w, own_w = Loop (steps, true, weight_0, bias_0) <body = weight_step
                (int64 step, bool continue, float[N, {D}] w, float[N] b)
                => (bool continue, float[N, {D}] w_next, float[N] b_next, float[M, 1] own) {{
                logits = Gemm <transB = 1> (features, w, b)
                probabilities = Softmax <axis = -1> (logits)
                own = GatherElements <axis = 1> (probabilities, own_class)
                difference = Sub(one_hot, probabilities)
                rate = Gather(rates_of_steps, step)
                step_share = Mul(share, rate)
                error = Mul(difference, step_share)
                w_next = Gemm <transA = 1> (error, features, w)
                sum_of_error = ReduceSum <keepdims = 0> (error, zero)
                bias_step = Mul(sum_of_error, bias_rate)
                b_next = Add(b, bias_step)
            }}>
        }}
    >

    steps_and_count = Concat <axis = 0> (minus_one, count)
    own_by_step = Reshape(own_probabilities, steps_and_count)
    possible = Max(own_by_step, smallest)
    log_probabilities = Log(possible)
    loss_columns = Gemm <alpha = -1.0> (log_probabilities, share)
    sums_of_losses = Squeeze(loss_columns, minus_one)
    losses = Div(sums_of_losses, ways)
}}
"""

_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, float[N, {D}] weight, float[N] bias) => (float[B, N] logits)
{{
    logits = Gemm <transB = 1> (features, weight, bias)
}}
"""


def gradient_head_graphs(parameters: GradientHeadParameters, feature_size: int) -> HeadGraphs:
    """The head as graphs.

    Args:
        parameters: the learned numbers, which become constants of `adapt`.
        feature_size: D.
    """
    adapt = parser.parse_model(_ADAPT.format(D=feature_size, bias_rate=f"{parameters.bias_rate:.9e}"))
    scale = parameters.scale or 0.0
    constants: dict[str, NDArray[Any]] = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "minus_one": np.array([-1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "none_and_one": np.array([0, 1], np.int64),
        "minus_half": np.array(-0.5, np.float32),
        "first": np.array(0, np.int64),
        "step_by": np.array(1, np.int64),
        "feature_size": np.array([feature_size], np.int64),
        "cost_of_a_pass": np.array(COST_OF_A_PASS, np.int64),
        "double_scale": np.array(2 * scale, np.float32),
        "bias_in_prototype": np.array(2 * scale * parameters.bias_rate, np.float32),
        "rates": np.array(parameters.rates, np.float32),
        "bias_rate": np.array(parameters.bias_rate, np.float32),
        "smallest": np.array(np.finfo(np.float32).tiny, np.float32),
    }
    adapt.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    predict = parser.parse_model(_PREDICT.format(D=feature_size))
    return HeadGraphs(finish(adapt), finish(predict), HEAD_STATE)
