"""The check of graphs against those that onnx makes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx")

import onnx.parser

from edge_adapt.runtime.bundle.graph_check import ALLOWED_OPERATORS, check_graph
from edge_adapt.runtime.errors import BundleError
from tests.runtime.bundle.test_graph_check import EXTERNAL, refusal


@pytest.fixture(scope="module")
def made_by_onnx() -> onnx.ModelProto:
    """A graph with initializers, constants, an If in a Loop, and typed and raw data."""
    return onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18]>
        adapt (float[M, 4] features, int64 steps, bool flag) => (float[M, 4] state, float[K] losses)
        <float[4] weight = {1.0, 2.0, 3.0, 4.0}, int64[2] shape = {-1, 4}>
        {
            scale = Constant <value = float[1] {0.5}> ()
            start = Mul (features, scale)
            yes = Identity (flag)
            state, losses = Loop (steps, yes, start) <body = step (int64 i, bool go, float[M, 4] before)
                => (bool on, float[M, 4] after, float loss) {
                on = Identity (go)
                after = If (go) <
                    then_branch = then () => (float[M, 4] more) { more = Add (before, weight) },
                    else_branch = otherwise () => (float[M, 4] less) {
                        one = Constant <value_floats = [1.0, 1.0, 1.0, 1.0]> ()
                        less = Sub (before, one)
                    }>
                loss = ReduceMean <keepdims = 0> (after)
            }>
        }
    """)


def test_a_real_graph_passes(made_by_onnx: onnx.ModelProto) -> None:
    check_graph(made_by_onnx.SerializeToString(), "it")


def test_allowed_operators_exist() -> None:
    standard = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    newer = {"Attention", "RMSNormalization", "RotaryEmbedding", "Swish"}  # of ONNX 1.19 and later
    assert standard >= ALLOWED_OPERATORS - newer


def subgraphs(graph: Any) -> list[Any]:
    """The graph and every graph within it."""
    inner = [a.g for n in graph.node for a in n.attribute if a.HasField("g")]
    return [graph, *(found for each in inner for found in subgraphs(each))]


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("place", ["initializer", "attribute", "sparse_initializer", "sparse_attribute"])
def test_external_data_made_by_onnx_is_refused(made_by_onnx: onnx.ModelProto, depth: int, place: str) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(made_by_onnx)
    graph = subgraphs(changed.graph)[depth]
    external = onnx.numpy_helper.from_array(np.zeros(4, np.float32), "ext")
    onnx.external_data_helper.set_external_data(external, location="weights.bin")
    external.ClearField("raw_data")
    external.data_location = onnx.TensorProto.EXTERNAL
    indices = onnx.numpy_helper.from_array(np.zeros(4, np.int64), "indices")
    if place == "initializer":
        graph.initializer.append(external)
    elif place == "attribute":
        graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=external))
    else:
        sparse = onnx.SparseTensorProto(values=external, indices=indices, dims=[9])
        if place == "sparse_initializer":
            graph.sparse_initializer.append(sparse)
        else:
            graph.node.append(onnx.helper.make_node("Constant", [], ["c"], sparse_value=sparse))
    assert EXTERNAL in refusal(changed.SerializeToString())


@pytest.mark.parametrize("depth", range(4))
def test_operators_and_domains_made_by_onnx_are_refused(made_by_onnx: onnx.ModelProto, depth: int) -> None:
    for made, fault in (
        (onnx.helper.make_node("RandomNormalLike", ["x"], ["r"]), "uses the operator 'RandomNormalLike'"),
        (onnx.helper.make_node("Relu", ["x"], ["r"], domain="com.microsoft"), "domain 'com.microsoft'"),
    ):
        changed = onnx.ModelProto()
        changed.CopyFrom(made_by_onnx)
        subgraphs(changed.graph)[depth].node.append(made)
        assert fault in refusal(changed.SerializeToString())


def test_functions_made_by_onnx_are_refused(made_by_onnx: onnx.ModelProto) -> None:
    function = onnx.helper.make_function(
        "", "Mine", ["x"], ["y"], [onnx.helper.make_node("Relu", ["x"], ["y"])], [onnx.helper.make_opsetid("", 18)]
    )
    changed = onnx.ModelProto()
    changed.CopyFrom(made_by_onnx)
    changed.functions.append(function)
    assert "functions of its own" in refusal(changed.SerializeToString())


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_passes_is_what_onnx_would_call_sound(made_by_onnx: onnx.ModelProto, data: st.DataObject) -> None:
    """Mutations of a real graph: where protobuf still parses one that passed, its own view of it holds no external data."""
    protobuf = pytest.importorskip("google.protobuf.message")
    raw = bytearray(made_by_onnx.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        check_graph(bytes(raw), "it")
    except BundleError:
        return
    try:
        parsed = onnx.ModelProto.FromString(bytes(raw))
    except protobuf.DecodeError:
        return
    for graph in subgraphs(parsed.graph):
        assert {n.op_type for n in graph.node} <= ALLOWED_OPERATORS
        tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute)]
        assert not any(t.external_data or t.data_location for t in tensors)
