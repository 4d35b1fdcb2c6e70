"""The gradient head as two ONNX graphs, `adapt` and `predict`, of ordinary inference operators.

Softmax cross-entropy on a linear classifier has a closed-form gradient, so the inner loop needs no autograd: it is an ONNX `Loop`
whose trip count is an input. `edge_adapt.networks.gradient_head` defines the head and states its step, which is written out
here.

Exact rearrangements make it fast. F [M, D] are the support features less their mean, Y [M, N] the one-hot targets, p the
probabilities and share_i = 1 / (N * shots of the class of i).

- The weights stay in the span of the support features, W = W_0 + A^T diag(share) F P, and a step adds 2 (Y - p) to A. With
  G = F F^T diag(share) the logits of the support set are Z_0 + 2 (I - R^4) A, R = I - G / curvature: [M, M] x [M, N] a step
  whatever D. Weights and bias are computed once, at the end. The bias's part is in that matrix too, as bias_rate share_j in each
  of its rows.
- G diag(share)^-1 is symmetric, and so the trace of G's fourth power is the sum of G^2 times its own transpose, number by number.
- A step through the weights costs 2 M D N products. It is less than through G where M is large against D, and then G is not made
  at all; an `If` chooses.

The carried logits have a second merit: ONNX Runtime cannot overwrite them with their softmax, which is slow in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.model_proto import finish

WAYS_OF_A_STEP = 20
"""Classes that one pass through the loop is enough for; a step is one for each so many that are begun."""

DOUBLINGS = 2
"""A step goes where 2**2 gradient steps on the quadratic upper bound of the loss would lead. One more gains up to a point with 20
classes and loses as much where few classes are hard to tell apart."""

BIAS_RATE = 0.1
"""The part of the longest step which cannot diverge that the bias takes. With 1 shot beside 15 longer ones cost the class with 1
up to two points; with equal shots it makes no difference."""

LEAST_SPREAD = 1e-12
"""How far features are apart at least, in squares and of the sum of their squares: what is less is rounding."""

LEAST_TRACE = 1e-20
"""Likewise where all features are zero."""

HEAD_STATE = ("weight", "bias")
"""The names of the head state's tensors, in the order of `adapt`'s outputs."""


@dataclass(frozen=True)
class GradientHeadParameters:
    """What meta-training learned of a gradient head; see `edge_adapt.networks.gradient_head.GradientHead`.

    Attributes:
        scale: of the prototype initialization; None starts from zero.
        pull: towards the start: a step ends 1 / (1 + pull) of the way from there.
    """

    scale: float | None
    pull: float


_STEPS_ON_BOUND = """
            fourth = Max(sum_of_powers, least_trace)
            root = Sqrt(fourth)
            bound = Sqrt(root)
            curvature = Mul(trace, bound)
            step_on_bound = Div(relative, bound)
            identity = EyeLike(relative)
            left = Sub(identity, step_on_bound)
            left_2 = MatMul(left, left)
            double_length = Div(double_step, curvature)
"""
"""What is left of the way to where the bound is least after one of the steps on it, and after two; of both branches."""

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
    ways = CastLike(n_way, shots)
    of_class = Reciprocal(own_shots)
    share = Div(of_class, ways)
    mean = Gemm <transA = 1> (share, features)
    centred = Sub(features, mean)
    squares_in_all = ReduceSumSquare <keepdims = 0> (features)
    least_of_squares = Mul(squares_in_all, least_spread)
    least = Max(least_of_squares, least_trace)
    scale_of_a = Mul(ways, double_scale)
    a_0 = Mul(one_hot, scale_of_a)
    ways_and_rest = Add(n_way, rest_of_step)
    repeats = Div(ways_and_rest, ways_of_a_step)
    passes = Mul(steps, repeats)
    taken = Range(first, passes, step_by)
    step_numbers = Cast <to = 1> (taken)
    from_one = Add(step_numbers, one_step)
    from_four = Add(step_numbers, four_steps)
    momenta = Div(from_one, from_four)

    count = Shape(targets)
    is_gram_smaller = Less(count, feature_size)
    true = Constant <value = bool {{1}}> ()
    weight, bias_row, own_probabilities = If (is_gram_smaller) <
        then_branch = through_gram () => (float[N, {D}] weight_g, float[1, N] bias_g, float[S, M, 1] own_g) {{
            products = Gemm <transB = 1> (centred, centred)
            row_share = Transpose(share)
            gram = Mul(products, row_share)
            flat_gram = Reshape(gram, minus_one)
            row_and_one = Add(count, one)
            diagonal = Slice(flat_gram, zero, end, zero, row_and_one)
            sum_of_diagonal = ReduceSum(diagonal)
            trace = Max(sum_of_diagonal, least)
            relative = Div(gram, trace)
            squared = MatMul(relative, relative)
            turned = Transpose(squared)
            fourth_powers = Mul(squared, turned)
            sum_of_powers = ReduceSum(fourth_powers)
            {STEPS_ON_BOUND}
            left_4 = MatMul(left_2, left_2)
            moved_by_step = Sub(identity, left_4)
            bias_share = Mul(row_share, bias_rate)
            moved_with_bias = Add(moved_by_step, bias_share)
            raw_logits = MatMul(gram, a_0)
            own_logits = Mul(one_hot, raw_logits)
            halves_of_norms = Gemm <alpha = -0.5> (row_share, own_logits)
            bias_0 = Mul(halves_of_norms, ways)
            logits_0 = Add(raw_logits, bias_0)
            nothing = Sub(one_hot, one_hot)
            a_end, ahead_end, logits_end, own_g = Loop (passes, true, nothing, nothing, logits_0) <body = gram_step
                (int64 step, bool continue, float[M, N] a, float[M, N] ahead, float[M, N] logits)
                => (bool continue, float[M, N] a_next, float[M, N] ahead_next, float[M, N] logits_next, float[M, 1] own) {{
                probabilities = Softmax <axis = -1> (logits)
                own = GatherElements <axis = 1> (probabilities, own_class)
                error = Sub(one_hot, probabilities)
                farther = Add(ahead, error)
                a_next = Mul(farther, kept)
                moved = Sub(a_next, a)
                further = Gather(momenta, step)
                ahead_of_it = Mul(moved, further)
                ahead_next = Add(a_next, ahead_of_it)
                logits_next = Gemm <alpha = 2.0> (moved_with_bias, ahead_next, logits_0)
            }}>
            bias_g = Gemm <alpha = 2.0> (bias_share, a_end, bias_0)
            sum_2 = Gemm(left, a_end, a_end)
            sum_4 = Gemm(left_2, sum_2, sum_2)
            lengthened = Mul(sum_4, double_length)
            a_in_all = Add(lengthened, a_0)
            shared_a = Mul(a_in_all, share)
            weight_g = Gemm <transA = 1> (shared_a, centred)
        }},
        else_branch = through_weights () => (float[N, {D}] weight_w, float[1, N] bias_w, float[S, M, 1] own_w) {{
            shared_features = Mul(centred, share)
            products = Gemm <transA = 1> (shared_features, centred)
            squares = Mul(shared_features, centred)
            sum_of_diagonal = ReduceSum(squares)
            trace = Max(sum_of_diagonal, least)
            relative = Div(products, trace)
            squared = MatMul(relative, relative)
            sum_of_powers = ReduceSumSquare(squared)
            {STEPS_ON_BOUND}
            onward = MatMul(shared_features, left)
            sum_2 = Add(shared_features, onward)
            onward_2 = MatMul(sum_2, left_2)
            sum_4 = Add(sum_2, onward_2)
            directions = Mul(sum_4, double_length)
            double_bias_rate = Add(bias_rate, bias_rate)
            bias_share = Mul(share, double_bias_rate)
            weight_0 = Gemm <transA = 1> (a_0, shared_features)
            raw_logits = Gemm <transB = 1> (centred, weight_0)
            own_logits = Mul(one_hot, raw_logits)
            halves_of_norms = Gemm <transA = 1, alpha = -0.5> (share, own_logits)
            bias_0 = Mul(halves_of_norms, ways)
            logits_0 = Add(raw_logits, bias_0)
            nothing = Sub(weight_0, weight_0)
            no_bias = Sub(bias_0, bias_0)
            w_end, b_end, wa_end, ba_end, own_w = Loop (passes, true, nothing, no_bias, nothing, no_bias) <body = weight_step
                (int64 step, bool continue, float[N, {D}] w, float[1, N] b, float[N, {D}] w_ahead, float[1, N] b_ahead)
                => (bool continue, float[N, {D}] w_next, float[1, N] b_next, float[N, {D}] w_ahead_next,
                    float[1, N] b_ahead_next, float[M, 1] own) {{
                bias_and_start = Add(logits_0, b_ahead)
                logits = Gemm <transB = 1> (centred, w_ahead, bias_and_start)
                probabilities = Softmax <axis = -1> (logits)
                own = GatherElements <axis = 1> (probabilities, own_class)
                error = Sub(one_hot, probabilities)
                w_farther = Gemm <transA = 1> (error, directions, w_ahead)
                w_next = Mul(w_farther, kept)
                b_farther = Gemm <transA = 1> (bias_share, error, b_ahead)
                b_next = Mul(b_farther, kept)
                further = Gather(momenta, step)
                w_moved = Sub(w_next, w)
                w_ahead_of_it = Mul(w_moved, further)
                w_ahead_next = Add(w_next, w_ahead_of_it)
                b_moved = Sub(b_next, b)
                b_ahead_of_it = Mul(b_moved, further)
                b_ahead_next = Add(b_next, b_ahead_of_it)
            }}>
            weight_w = Add(weight_0, w_end)
            bias_w = Add(bias_0, b_end)
        }}
    >
    at_mean = Gemm <transB = 1> (mean, weight)
    bias_of_features = Sub(bias_row, at_mean)
    bias = Squeeze(bias_of_features, zero)

    passes_and_count = Concat <axis = 0> (minus_one, count)
    own_by_pass = Reshape(own_probabilities, passes_and_count)
    every = Unsqueeze(repeats, zero)
    own_by_step = Slice(own_by_pass, zero, end, zero, every)
    possible = Max(own_by_step, smallest)
    log_probabilities = Log(possible)
    loss_columns = Gemm <alpha = -1.0> (log_probabilities, share)
    losses = Squeeze(loss_columns, minus_one)
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
    adapt = parser.parse_model(_ADAPT.format(D=feature_size, STEPS_ON_BOUND=_STEPS_ON_BOUND))
    constants: dict[str, NDArray[Any]] = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "minus_one": np.array([-1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "first": np.array(0, np.int64),
        "step_by": np.array(1, np.int64),
        "feature_size": np.array([feature_size], np.int64),
        "rest_of_step": np.array(WAYS_OF_A_STEP - 1, np.int64),
        "ways_of_a_step": np.array(WAYS_OF_A_STEP, np.int64),
        "one_step": np.array(1, np.float32),
        "four_steps": np.array(4, np.float32),
        "double_scale": np.array(2 * (parameters.scale or 0.0), np.float32),
        "double_step": np.array(2, np.float32),
        "kept": np.array(1 / (1 + parameters.pull), np.float32),
        "bias_rate": np.array(BIAS_RATE, np.float32),
        "least_spread": np.array(LEAST_SPREAD, np.float32),
        "least_trace": np.array(LEAST_TRACE, np.float32),
        "smallest": np.array(np.finfo(np.float32).tiny, np.float32),
    }
    adapt.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    predict = parser.parse_model(_PREDICT.format(D=feature_size))
    return HeadGraphs(finish(adapt), finish(predict), HEAD_STATE)
