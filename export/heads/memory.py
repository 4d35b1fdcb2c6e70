"""The memory head as two ONNX graphs, `adapt` and `predict`, of ordinary inference operators.

`edge_adapt.methods.memory` defines the head and states its formulas; this file writes them out. `adapt` is an ONNX `Loop` over
the rounds in which the support set is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.model_proto import finish

DECAY = 0.99
"""What is left of a slot's usage after another write."""

LEAST_MASS = float(np.finfo(np.float32).tiny)
"""The least mass of a label that is divided by or taken the logarithm of, float32's smallest normal number."""

SHORTEST = 1e-12
"""The least length that a vector is divided by: that of `torch.nn.functional.normalize`."""

HEAD_STATE = ("keys", "labels")
"""The names of the head state's tensors, in the order of `adapt`'s outputs."""


@dataclass(frozen=True, eq=False)
class MemoryHeadParameters:
    """What meta-training learned of a memory head, and its size.

    Attributes:
        weight, bias: of the controller, float32 [K, D] and [K].
        strength: what cosines are multiplied by before the softmax.
        gate: the share of a write that goes to the slots read, 0 to 1.
        slots: of the memory, a support set of more classes has one for each.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    gate: float
    slots: int


_ADAPT = """
<ir_version: 8, opset_import: ["" : 18]>
adapt (float[M, {D}] features, int64[M] targets, int64 n_way, int64 steps)
    => (float[S, {K}] keys, float[S, N] labels, float[0] losses)
{{
    own_class = Unsqueeze(targets, minus_one)
    classes = Range(zero, n_way, one)
    is_own_class = Equal(own_class, classes)
    one_hot = Cast <to = 1> (is_own_class)
    mapped = Gemm <transB = 1> (features, weight, bias)
    mapped_length = ReduceL2(mapped, minus_one)
    mapped_divisor = Max(mapped_length, shortest)
    image_keys = Div(mapped, mapped_divisor)

    count = Shape(targets)
    following_of_classes = CumSum <reverse = 1> (one_hot, zero)
    following_own = Mul(following_of_classes, one_hot)
    following = ReduceSum <keepdims = 0> (following_own, minus_one)
    following_first, order = TopK <axis = 0> (following, count)
    keys_in_order = Gather(image_keys, order)
    labels_in_order = Gather(one_hot, order)
    shots = ReduceSum <keepdims = 0> (one_hot, first_axis)
    most_shots = ReduceMax <keepdims = 0> (shots)
    rounds = Cast <to = 7> (most_shots)
    last_round = Sub(rounds, one)
    still_to_come = Range(last_round, minus_one_scalar, minus_one_scalar)
    still_to_come_column = Unsqueeze(still_to_come, minus_one)
    shots_of_classes = Cast <to = 7> (shots)
    is_in_round = Greater(shots_of_classes, still_to_come_column)
    in_round = Cast <to = 7> (is_in_round)
    sizes = ReduceSum(in_round, minus_one)
    ends = CumSum(sizes, zero)

    most_slots = Max(n_way, slots)
    slot_count = Min(count, most_slots)
    slot_end = Squeeze(slot_count)
    slot = Range(zero, slot_end, one)
    ways = Reshape(n_way, minus_one)
    key_shape = Concat <axis = 0> (slot_count, key_size)
    label_shape = Concat <axis = 0> (slot_count, ways)
    blank_keys = ConstantOfShape(key_shape)
    blank_labels = ConstantOfShape(label_shape)
    unused = ConstantOfShape(slot_count)
    true = Constant <value = bool {{1}}> ()
    written_keys, written_labels, last_usage = Loop (rounds, true, blank_keys, blank_labels, unused) <body = write
        (int64 round, bool continue, float[S, {K}] memory_keys, float[S, N] memory_labels, float[S] usage)
        => (bool continue, float[S, {K}] next_keys, float[S, N] next_labels, float[S] next_usage) {{
        size = Gather(sizes, round)
        end = Gather(ends, round)
        start = Sub(end, size)
        round_keys = Slice(keys_in_order, start, end, first_axis)
        round_labels = Slice(labels_in_order, start, end, first_axis)

        least_usage, least_used_slots = TopK <largest = 0> (usage, size)
        least_used_column = Unsqueeze(least_used_slots, minus_one)
        is_least_used = Equal(least_used_column, slot)
        least_used = Cast <to = 1> (is_least_used)
        erased = ReduceMax(least_used, first_axis)
        is_erased_row = Cast <to = 9> (erased)
        is_erased = Transpose(is_erased_row)
        kept_keys = Where(is_erased, none, memory_keys)
        kept_labels = Where(is_erased, none, memory_labels)

        length = ReduceL2 <keepdims = 0> (kept_keys, minus_one)
        divisor = Max(length, shortest)
        products = Gemm <alpha = {strength}, transB = 1> (round_keys, kept_keys)
        all_scores = Div(products, divisor)
        own = Gemm <transB = 1> (round_labels, kept_labels)
        is_own = Greater(own, none)
        scores = Where(is_own, all_scores, lowest)
        attention = Softmax <axis = -1> (scores)
        read = Where(is_own, attention, none)

        gated_read = Mul(read, gate)
        gated_least_used = Mul(least_used, opposite_gate)
        write = Add(gated_read, gated_least_used)
        next_keys = Gemm <transA = 1> (write, round_keys, kept_keys)
        next_labels = Gemm <transA = 1> (write, round_labels, kept_labels)
        decayed = Mul(usage, decay)
        access = Add(read, write)
        access_of_round = ReduceSum <keepdims = 0> (access, first_axis)
        next_usage = Add(decayed, access_of_round)
    }}>

    slot_length = ReduceL2(written_keys, minus_one)
    slot_divisor = Max(slot_length, shortest)
    keys = Div(written_keys, slot_divisor)
    label_sums = ReduceSum(written_labels, first_axis)
    label_divisor = Max(label_sums, least_mass)
    labels = Div(written_labels, label_divisor)
    losses = Identity(no_losses)
}}
"""

_PREDICT = """
<ir_version: 8, opset_import: ["" : 18]>
predict (float[B, {D}] features, float[S, {K}] keys, float[S, N] labels) => (float[B, N] logits)
{{
    mapped = Gemm <transB = 1> (features, weight, bias)
    length = ReduceL2(mapped, minus_one)
    divisor = Max(length, shortest)
    query = Div(mapped, divisor)
    scores = Gemm <alpha = {strength}, transB = 1> (query, keys)
    attention = Softmax <axis = -1> (scores)
    mass = MatMul(attention, labels)
    possible = Max(mass, least_mass)
    logits = Log(possible)
}}
"""


def memory_head_graphs(parameters: MemoryHeadParameters) -> HeadGraphs:
    """The head as graphs.

    Args:
        parameters: the learned numbers, which become constants of both.
    """
    key_size, feature_size = parameters.weight.shape
    of_both: dict[str, NDArray[Any]] = {
        "weight": parameters.weight,
        "bias": parameters.bias,
        "minus_one": np.array([-1], np.int64),
        "shortest": np.array(SHORTEST, np.float32),
        "least_mass": np.array(LEAST_MASS, np.float32),
    }
    of_adapt: dict[str, NDArray[Any]] = {
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "minus_one_scalar": np.array(-1, np.int64),
        "first_axis": np.array([0], np.int64),
        "key_size": np.array([key_size], np.int64),
        "slots": np.array([parameters.slots], np.int64),
        "none": np.array(0, np.float32),
        "lowest": np.array(np.finfo(np.float32).min, np.float32),
        "gate": np.array(parameters.gate, np.float32),
        "opposite_gate": np.array(1 - parameters.gate, np.float32),
        "decay": np.array(DECAY, np.float32),
        "no_losses": np.empty(0, np.float32),
    }
    sizes = {"D": feature_size, "K": key_size, "strength": f"{parameters.strength:.9e}"}
    adapt, predict = (parser.parse_model(text.format(**sizes)) for text in (_ADAPT, _PREDICT))
    for model, constants in ((adapt, of_both | of_adapt), (predict, of_both)):
        model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    return HeadGraphs(finish(adapt), finish(predict), HEAD_STATE)
