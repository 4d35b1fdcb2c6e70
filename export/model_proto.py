"""The last touch on every graph: nothing about the machine that made it, checked, serialized."""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from edge_adapt.runtime.bundle.graph_check import check_graph

OPSET = 18
IR_VERSION = 8


def finish(model: onnx.ModelProto) -> bytes:
    """Strip, check and serialize one graph of a bundle.

    Exporters leave source paths, stack traces and their own names in metadata and doc strings; a bundle says nothing of them.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
        edge_adapt.runtime.errors.BundleError: a device would refuse the graph.
    """
    model.ir_version = IR_VERSION
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string", "metadata_props"):
        model.ClearField(field)
    for graph in _graphs(model.graph):
        graph.ClearField("doc_string")
        graph.ClearField("metadata_props")
        graph.ClearField("value_info")
        for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
            item.ClearField("doc_string")
            item.ClearField("metadata_props")
        for node in graph.node:
            node.ClearField("name")
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    check_graph(data, model.graph.name)
    return data


def _graphs(graph: onnx.GraphProto) -> Iterable[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)
