"""The graphs of the metric-based heads against the heads in PyTorch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")

import onnx
import torch

from edge_adapt.runtime.bundle.graph_check import ALLOWED_OPERATORS
from edge_adapt.runtime.sessions import Session, scalar
from tests.metric_heads import HEADS
from tests.reference import relative_difference
from tests.support_sets import SupportSet, support_sets

every_head = pytest.mark.parametrize("name", HEADS)

State = dict[str, NDArray[Any]]


@cache
def sessions(name: str, feature_size: int) -> tuple[Session, Session, tuple[str, ...]]:
    """`adapt` and `predict` in ONNX Runtime, and the names of the head state."""
    graphs = HEADS[name](feature_size).graphs(feature_size)
    return (
        Session(graphs.adapt, "adapt", ("features", "targets", "n_way", "steps")),
        Session(graphs.predict, "predict", ("features", *graphs.state)),
        graphs.state,
    )


def adapt(name: str, features: NDArray[Any], labels: NDArray[Any], n_way: int, steps: int = 0) -> State:
    """The head state of the graph, which must give no losses."""
    graph, _, names = sessions(name, features.shape[1])
    feeds = {"features": features, "targets": labels, "n_way": scalar(n_way), "steps": scalar(steps)}
    outputs = dict(zip(graph.outputs, graph.run(feeds), strict=True))
    losses = outputs.pop("losses")
    assert losses.shape == (0,) and losses.dtype == np.float32
    assert tuple(outputs) == names
    return outputs


def predict(name: str, query: NDArray[Any], state: State) -> NDArray[np.float32]:
    """Logits of the graph."""
    _, graph, _ = sessions(name, query.shape[1])
    (logits,) = graph.run({"features": query, **state})
    return logits


def check_against_torch(name: str, support: SupportSet) -> None:
    """Each tensor of the head state to 1e-6, and logits to 1e-5, of the largest magnitude."""
    state = adapt(name, support.features, support.labels, support.n_way, support.steps)
    head = HEADS[name](support.features.shape[1])
    with torch.no_grad():
        features, labels, query = map(torch.from_numpy, (support.features, support.labels, support.query))
        expected, _ = head.adapt(features, labels, support.n_way, support.steps)
        logits = head.predict(query, expected).numpy()
    assert list(state) == list(expected)
    for tensor, values in expected.items():
        assert state[tensor].dtype == np.float32
        assert relative_difference(state[tensor], values.numpy()) <= 1e-6
    found = predict(name, support.query, state)
    assert found.shape == (len(support.query), support.n_way)
    assert relative_difference(found, logits) <= 1e-5


@every_head
@settings(max_examples=50, deadline=None)
@given(support_sets(ways=20, shots=8, size=80, steps=9))
def test_the_graphs_agree_with_pytorch(name: str, support: SupportSet) -> None:
    check_against_torch(name, support)


@every_head
@pytest.mark.parametrize(("feature_size", "shots"), [(64, (1,) * 200), (9, (1, 5) * 100), (448, (50, 1))])
def test_two_to_two_hundred_ways_of_one_to_fifty_shots(name: str, feature_size: int, shots: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(len(shots), dtype=np.int64), shots)
    features, query = (
        random.normal(size=(count, feature_size)).astype(np.float32) / feature_size**0.5 for count in (len(labels), 7)
    )
    check_against_torch(name, SupportSet(features, labels, query, len(shots), 0, None))


@every_head
@pytest.mark.parametrize("which", ["support", "query", "both"])
def test_features_of_nothing_but_zeros(name: str, which: str) -> None:
    """A blank image of a backbone that ends in rectifiers."""
    random = np.random.default_rng(2)
    features, query = (random.normal(size=(count, 6)).astype(np.float32) for count in (3, 2))
    if which != "query":
        features[1] = 0
    if which != "support":
        query[0] = 0
    check_against_torch(name, SupportSet(features, np.array([0, 1, 0]), query, 2, 0, None))


@every_head
@settings(max_examples=25, deadline=None)
@given(support_sets(ways=20, shots=6, size=60, steps=0), st.integers(0, 2**32 - 1))
def test_permuted_classes_give_permuted_logits(name: str, support: SupportSet, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(support.n_way)
    logits, permuted = (
        predict(name, support.query, adapt(name, support.features, labels, support.n_way))
        for labels in (support.labels, order[support.labels])
    )
    assert relative_difference(permuted[:, order], logits) <= 1e-6


@every_head
@settings(max_examples=25, deadline=None)
@given(support_sets(ways=20, shots=6, size=60, steps=0), st.integers(0, 2**32 - 1))
def test_a_shuffled_support_set_gives_the_same_logits(name: str, support: SupportSet, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(support.labels))
    logits, shuffled = (
        predict(name, support.query, adapt(name, support.features[kept], support.labels[kept], support.n_way))
        for kept in (np.arange(len(order)), order)
    )
    assert relative_difference(shuffled, logits) <= 1e-5


@every_head
@settings(max_examples=15, deadline=None)
@given(support_sets(ways=10, shots=4, size=30, steps=0))
def test_a_query_gets_the_same_logits_alone_and_in_a_batch(name: str, support: SupportSet) -> None:
    state = adapt(name, support.features, support.labels, support.n_way)
    together = predict(name, support.query, state)
    alone = np.concatenate([predict(name, query[None], state) for query in support.query])
    assert relative_difference(alone, together) <= 1e-6
    assert predict(name, support.query[:0], state).shape == (0, support.n_way)


@every_head
def test_the_files_hold_what_they_use_and_say_nothing_of_where_they_were_made(name: str) -> None:
    graphs = HEADS[name](24).graphs(24)
    assert graphs == HEADS[name](24).graphs(24)
    for data in (graphs.adapt, graphs.predict):
        model = onnx.load_from_string(data)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        assert model.ir_version == 8 and not model.metadata_props
        nodes = [*model.graph.node]
        nodes += [inner for node in nodes for attribute in node.attribute for inner in attribute.g.node]
        assert {node.op_type for node in nodes} <= ALLOWED_OPERATORS
        assert {constant.name for constant in model.graph.initializer} <= {
            name for node in nodes for name in node.input
        }
        checkout = str(Path(__file__).parents[3]).encode()
        assert not any(marker in data for marker in (checkout, b"site-packages", b".py", b"onnx"))
