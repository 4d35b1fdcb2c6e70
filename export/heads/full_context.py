"""Matching in the light of the support set as ONNX graphs: `edge_adapt.methods.matching.FullContextHead`.

`adapt` reads the support set with ONNX's LSTM, both ways; `predict` has the steps of a query written out, each query by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.heads.metric import finished, keeping, matched


@dataclass(frozen=True)
class FullContextParameters:
    """The learned numbers, which become constants.

    Attributes:
        of_support: of the LSTM both ways, by PyTorch's names, float32.
        weight, bias: of the gates of a query's LSTM, from features, h and r, in PyTorch's order, float32 [4 D, 3 D] and [4 D].
        scale: of the cosines.
        readings: steps of a query.
    """

    of_support: Mapping[str, NDArray[np.float32]]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    scale: float
    readings: int


_SUPPORT = """
    sequence = Unsqueeze(features, axis_one)
    both_ways, last_hidden, last_cell = LSTM <hidden_size = {D}, direction = "bidirectional"> (sequence, input_weight,
        recurrent_weight, lstm_bias)
    of_each = Squeeze(both_ways, axis_two)
    read = ReduceSum <keepdims = 0> (of_each, axis_one)
    support = Add(features, read)
"""

_READING = """
    seen_{k} = Concat <axis = 1> (features, hidden_{before}, found_{before})
    gates_{k} = Gemm <transB = 1> (seen_{k}, weight, bias)
    enter_{k}, forget_{k}, new_{k}, leave_{k} = Split <axis = 1, num_outputs = 4> (gates_{k})
    entering_{k} = Sigmoid(enter_{k})
    kept_{k} = Sigmoid(forget_{k})
    proposed_{k} = Tanh(new_{k})
    leaving_{k} = Sigmoid(leave_{k})
    of_before_{k} = Mul(kept_{k}, cell_{before})
    of_new_{k} = Mul(entering_{k}, proposed_{k})
    cell_{k} = Add(of_before_{k}, of_new_{k})
    squashed_{k} = Tanh(cell_{k})
    output_{k} = Mul(leaving_{k}, squashed_{k})
    hidden_{k} = Add(features, output_{k})
    scores_{k} = Gemm <transB = 1> (hidden_{k}, support)
    attention_{k} = Softmax <axis = -1> (scores_{k})
    found_{k} = MatMul(attention_{k}, support)
"""

_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, float[M, {D}] support, float[M, N] share) => (float[B, N] logits)
{{
    hidden_0 = Sub(features, features)
    cell_0 = Identity(hidden_0)
    found_0 = Identity(hidden_0)
    {readings}
    {matching}
}}
"""


def full_context_graphs(parameters: FullContextParameters) -> HeadGraphs:
    """The head as graphs."""
    feature_size = parameters.weight.shape[0] // 4
    both = [
        {name: parameters.of_support[f"{name}_l0{way}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        for way in ("", "_reverse")
    ]
    adapt = keeping(
        _SUPPORT.format(D=feature_size),
        feature_size,
        input_weight=np.stack([_in_onnx_order(way["weight_ih"]) for way in both]),
        recurrent_weight=np.stack([_in_onnx_order(way["weight_hh"]) for way in both]),
        lstm_bias=np.stack([np.concatenate([_in_onnx_order(way[f"bias_{of}h"]) for of in "ih"]) for way in both]),
    )
    steps = (_READING.format(k=k, before=k - 1) for k in range(1, parameters.readings + 1))
    matching = matched(f"hidden_{parameters.readings}", parameters.scale)
    predict = _PREDICT.format(D=feature_size, readings="".join(steps), matching=matching)
    return HeadGraphs(adapt, finished(predict, weight=parameters.weight, bias=parameters.bias), ("support", "share"))


def _in_onnx_order(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows for the gates i, f, g and o, PyTorch's order, in that of ONNX: i, o, f, g."""
    enter, forget, new, leave = np.split(rows, 4)
    return np.concatenate([enter, leave, forget, new])
