"""The head that reads values as two ONNX graphs, `adapt` and `predict`: attention over what was taught, in a metric that ridge
regression gives.

Nothing of it is learned in meta-training, and no length is fixed: one pair of graphs serves every feature size.

A photo of a gauge changes far more with camera and light than with the needle. Rows of the support set with equal targets, the
looks at one photo among them, differ in nothing but such nuisance: N [P, D] are their differences from their mean, at most
`MOST_NUISANCE` of them. What ridge regression on N explains of features is taken away, C (I - N^T (N N^T + r I)^-1 N) for the
means C [G, D] of rows with equal targets. A query's values are those of the means, weighted by the softmax of its squared
distances, negative, in that metric over a temperature (Nadaraya 1964, Watson 1964); up to what all have in common they are linear
in its features.

Ridge regression from features to values does worse on a dial: with few photos it draws every answer to the mean, as
docs/benchmarks.md shows.

Steps reach the ridge solution. From zero, n gradient steps of length 1 / c on the squared loss, c a bound of its curvature
K = N N^T + r I, have taken X_n with I - K X_n = (I - K / c)^n in the place of the inverse. Two such stretches are one,
X_2n = 2 X_n - X_n K X_n (Schulz 1933), so that a step goes as far as all before it together: after S of them 2^S gradient steps
are taken. They cannot diverge. They are computed in float64: a small r costs as many digits as the curvature is larger than it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.model_proto import finish
from edge_adapt.runtime.regressor.head import HEAD, HEAD_STATE

STRENGTH = 0.001
"""The ridge strength r, in mean squared lengths of the rows of N. A tenth and ten times as much do as well."""

TEMPERATURE = 0.1
"""Of the softmax, in mean squared lengths of the means in the metric, less their own mean. Half and twice as much do worse with
5, 10, 20 and 40 photos of the samples' gauge, and so does the one of several that is best at photos that are left out."""

MOST_NUISANCE = 192
"""Rows of N at most; of more every k-th counts. A step multiplies matrices of as many rows and columns."""

_ADAPT = """
<ir_version: 8, opset_import: ["" : 18]>
adapt (float[R, D] features, float[R, T] targets, int64 steps)
    => (float[G, D] weight, float[G] bias, float[G, T] taught, float[S] losses)
{
    row_targets = Unsqueeze(targets, one)
    column_targets = Unsqueeze(targets, zero)
    is_equal = Equal(row_targets, column_targets)
    equal = Cast <to = 1> (is_equal)
    alike = ReduceMin <keepdims = 0> (equal, minus_one)
    group_sizes = ReduceSum(alike, minus_one)
    share = Div(alike, group_sizes)
    group_means = MatMul(share, features)
    scatter = Sub(features, group_means)
    rows = Shape <end = 1> (features)
    rows_and_rest = Add(rows, rest_of_nuisance)
    every = Div(rows_and_rest, most_nuisance)
    nuisance = Slice(scatter, zero, end, zero, every)
    nuisance_turned = Transpose(nuisance)

    first_alike = ArgMax <axis = 1, keepdims = 0> (alike)
    row_count = Squeeze(rows)
    row_numbers = Range(zero_scalar, row_count, one_scalar)
    is_first = Equal(first_alike, row_numbers)
    means = Compress <axis = 0> (group_means, is_first)
    taught = Compress <axis = 0> (targets, is_first)
    origin = ReduceMean(means, zero)
    centred = Sub(means, origin)

    products = MatMul(nuisance, nuisance_turned)
    wide_products = Cast <to = 11> (products)
    identity = EyeLike(wide_products)
    own_products = Mul(wide_products, identity)
    squared_lengths = ReduceSum <keepdims = 0> (own_products, minus_one)
    squared_length = ReduceMean <keepdims = 0> (squared_lengths)
    power = Max(squared_length, least_power)
    gram = Div(wide_products, power)
    ridge = Mul(identity, strength)
    curved = Add(gram, ridge)
    sizes = Abs(curved)
    row_sums = ReduceSum(sizes, minus_one)
    bound = ReduceMax <keepdims = 0> (row_sums)
    begun = Div(identity, bound)
    true = Constant <value = bool {1}> ()
    inverse, wide_losses = Loop (steps, true, begun) <body = one_step
        (int64 step, bool continue, double[P, P] taken) => (bool continue, double[P, P] doubled, double loss) {
            curved_taken = MatMul(curved, taken)
            left = Sub(identity, curved_taken)
            left_squared = Mul(left, left)
            loss = ReduceMean <keepdims = 0> (left_squared)
            farther = MatMul(taken, left)
            doubled = Add(taken, farther)
        }>
    losses = Cast <to = 1> (wide_losses)

    along = MatMul(centred, nuisance_turned)
    wide_along = Cast <to = 11> (along)
    relative = Div(wide_along, power)
    wide_amounts = MatMul(relative, inverse)
    amounts = Cast <to = 1> (wide_amounts)
    explained = MatMul(amounts, nuisance)
    direction = Sub(centred, explained)

    own = Mul(centred, direction)
    norms = ReduceSum(own, minus_one)
    mean_norm = ReduceMean <keepdims = 0> (norms)
    scale = Max(mean_norm, least_scale)
    scaled = Mul(scale, temperature)
    weight = Div(direction, scaled)
    halves = Mul(norms, half)
    scaled_halves = Div(halves, scaled)
    at_origin = Gemm <transB = 1> (weight, origin)
    together = Add(scaled_halves, at_origin)
    column_bias = Neg(together)
    bias = Squeeze(column_bias, minus_one)
}
"""

_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, D] features, float[G, D] weight, float[G] bias, float[G, T] taught) => (float[B, T] values)
{
    logits = Gemm <transB = 1> (features, weight, bias)
    shares = Softmax <axis = -1> (logits)
    values = MatMul(shares, taught)
}
"""


def reading_head_graphs() -> HeadGraphs:
    """The head as graphs, for features and targets of any length."""
    adapt = parser.parse_model(_ADAPT)
    constants: dict[str, NDArray[Any]] = {
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "minus_one": np.array([-1], np.int64),
        "end": np.array([np.iinfo(np.int64).max], np.int64),
        "zero_scalar": np.array(0, np.int64),
        "one_scalar": np.array(1, np.int64),
        "rest_of_nuisance": np.array([MOST_NUISANCE - 1], np.int64),
        "most_nuisance": np.array([MOST_NUISANCE], np.int64),
        "strength": np.array(STRENGTH, np.float64),
        "least_power": np.array(1e-20, np.float64),
        "least_scale": np.array(1e-20, np.float32),
        "half": np.array(0.5, np.float32),
        "temperature": np.array(TEMPERATURE, np.float32),
    }
    adapt.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return HeadGraphs(finish(adapt), finish(parser.parse_model(_PREDICT)), HEAD_STATE)


if __name__ == "__main__":  # writes them to where the runtime has them
    graphs = reading_head_graphs()
    (HEAD / "adapt.onnx").write_bytes(graphs.adapt)
    (HEAD / "predict.onnx").write_bytes(graphs.predict)
