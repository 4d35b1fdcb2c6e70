"""The graphs `adapt` and `predict` against the head in PyTorch and against NumPy in float64."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")

import onnx
import torch

from edge_adapt.export.heads.gradient import HEAD_STATE, WAYS_OF_A_STEP, GradientHeadParameters, gradient_head_graphs
from edge_adapt.runtime.bundle.graph_check import ALLOWED_OPERATORS, check_graph
from edge_adapt.runtime.sessions import Session, scalar
from tests import reference
from tests.gradient_heads import head_of
from tests.reference import relative_difference
from tests.support_sets import SupportSet, support_sets

State = dict[str, NDArray[np.float32]]


def tolerance(support: SupportSet) -> float:
    """2e-5, times how much larger features are than what they differ by: float32 loses that many digits to their mean. Above 60
    passes through the loop, which 200 ways take, rounding adds up to more."""
    passes = support.steps * -(-support.n_way // WAYS_OF_A_STEP)
    spread = np.linalg.norm(support.features - support.features.mean(axis=0))
    return 2e-5 * max(1.0, passes / 60) * max(1.0, float(np.linalg.norm(support.features) / max(spread, 1e-30)))


@cache
def sessions(parameters: GradientHeadParameters, feature_size: int) -> tuple[Session, Session]:
    """`adapt` and `predict` in ONNX Runtime."""
    graphs = gradient_head_graphs(parameters, feature_size)
    return (
        Session(graphs.adapt, "adapt", ("features", "targets", "n_way", "steps")),
        Session(graphs.predict, "predict", ("features", *HEAD_STATE)),
    )


def parameters_of(support: SupportSet) -> GradientHeadParameters:
    return GradientHeadParameters(support.scale, support.pull)


def run_adapt(
    parameters: GradientHeadParameters, features: NDArray[Any], labels: NDArray[Any], n_way: int, steps: int
) -> tuple[State, NDArray[np.float32]]:
    """Head state and losses of the graph."""
    adapt, _ = sessions(parameters, features.shape[1])
    feeds = {"features": features, "targets": labels, "n_way": scalar(n_way), "steps": scalar(steps)}
    outputs = dict(zip(adapt.outputs, adapt.run(feeds), strict=True))
    losses = outputs.pop("losses")
    assert tuple(outputs) == HEAD_STATE
    return outputs, losses


def run_predict(parameters: GradientHeadParameters, query: NDArray[Any], state: State) -> NDArray[np.float32]:
    """Logits of the graph."""
    _, predict = sessions(parameters, query.shape[1])
    (logits,) = predict.run({"features": query, **state})
    return logits


def in_torch(support: SupportSet) -> tuple[State, NDArray[np.float32], NDArray[np.float32]]:
    """Head state, losses and logits of the head in PyTorch, float32."""
    head = head_of(support).float()
    with torch.no_grad():
        features, labels, query = map(torch.from_numpy, (support.features, support.labels, support.query))
        state, losses = head.adapt(features, labels, support.n_way, support.steps)
        logits = head.predict(query, state)
    return {name: tensor.numpy() for name, tensor in state.items()}, losses.numpy(), logits.numpy()


def state_difference(ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]]) -> float:
    """Relative to the largest magnitude of the whole head state: a bias that begins at zero may be rounding errors alone."""
    magnitude = max(float(np.abs(array).max()) for array in theirs.values())
    return max(float(np.abs(ours[name] - theirs[name]).max()) for name in HEAD_STATE) / max(magnitude, 1e-30)


def loss_difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Relative, but absolute below a nat: the logarithm of a probability near 1 has no more digits."""
    return float(np.abs(ours - theirs).max(initial=0) / np.abs(theirs).max(initial=1))


def check_against_torch(support: SupportSet) -> None:
    """Head state, losses and logits within `tolerance`, relative to the largest magnitude."""
    parameters = parameters_of(support)
    state, losses = run_adapt(parameters, support.features, support.labels, support.n_way, support.steps)
    expected, expected_losses, expected_logits = in_torch(support)
    assert losses.shape == (support.steps,) and losses.dtype == np.float32
    assert all(state[name].dtype == np.float32 for name in HEAD_STATE)
    # Weights and bias together: from zero and with equal shots the exact bias is zero, and what remains of it is rounding.
    ours, theirs = (np.concatenate([held[name].ravel() for name in HEAD_STATE]) for held in (state, expected))
    assert relative_difference(ours, theirs) <= tolerance(support)
    # The graph takes the logarithm of a float32 probability, so that a loss is known to about 1e-7 nats and no better.
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance(support), atol=tolerance(support) / 10)
    assert relative_difference(run_predict(parameters, support.query, state), expected_logits) <= tolerance(support)


@settings(max_examples=80, deadline=None)
@given(support_sets(ways=20, shots=8, size=80, steps=60))
def test_the_graphs_agree_with_pytorch(support: SupportSet) -> None:
    check_against_torch(support)


@settings(max_examples=40, deadline=None)
@given(support_sets(ways=10, shots=25, size=6, steps=60))
def test_they_agree_where_there_are_more_images_than_features(support: SupportSet) -> None:
    assume(len(support.labels) > 4 * support.features.shape[1])
    check_against_torch(support)


@settings(max_examples=40, deadline=None)
@given(support_sets(ways=12, shots=2, size=400, steps=30))
def test_they_agree_where_there_are_more_features_than_images(support: SupportSet) -> None:
    assume(support.features.shape[1] > 4 * len(support.labels))
    check_against_torch(support)


@settings(max_examples=30, deadline=None)
@given(support_sets(ways=8, shots=6, size=30, steps=20))
def test_the_graphs_agree_with_numpy(support: SupportSet) -> None:
    state, losses = run_adapt(parameters_of(support), support.features, support.labels, support.n_way, support.steps)
    weight, bias, expected_losses = reference.adapt(
        support.features,
        support.labels,
        support.n_way,
        support.steps,
        scale=support.scale,
        pull=support.pull,
    )
    assert state_difference(state, {"weight": weight, "bias": bias}) <= tolerance(support)
    # The graph takes the logarithm of a float32 probability, so that a loss is known to about 1e-7 nats and no better.
    np.testing.assert_allclose(losses, expected_losses, rtol=tolerance(support), atol=tolerance(support) / 10)


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize(("feature_size", "shots"), [(64, (1,) * 200), (9, (1, 5) * 100)])
def test_two_hundred_ways(scale: float | None, feature_size: int, shots: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(200, dtype=np.int64), shots)
    features, query = (
        random.normal(size=(count, feature_size)).astype(np.float32) / feature_size**0.5 for count in (len(labels), 7)
    )
    check_against_torch(SupportSet(features, labels, query, 200, 12, scale, 1e-3))


@settings(max_examples=40, deadline=None)
@given(support_sets(ways=20, shots=6, size=60, steps=50), st.integers(0, 2**32 - 1))
def test_permuted_classes_give_permuted_weights(support: SupportSet, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(support.n_way)
    parameters = parameters_of(support)
    state, losses = run_adapt(parameters, support.features, support.labels, support.n_way, support.steps)
    permuted, permuted_losses = run_adapt(
        parameters, support.features, order[support.labels], support.n_way, support.steps
    )
    assert state_difference({name: permuted[name][order] for name in HEAD_STATE}, state) <= 1e-4
    assert loss_difference(permuted_losses, losses) <= 1e-4


@settings(max_examples=40, deadline=None)
@given(support_sets(ways=20, shots=6, size=60, steps=50), st.integers(0, 2**32 - 1))
def test_a_shuffled_support_set_gives_the_same_weights(support: SupportSet, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(support.labels))
    parameters = parameters_of(support)
    state, losses = run_adapt(parameters, support.features, support.labels, support.n_way, support.steps)
    shuffled, shuffled_losses = run_adapt(
        parameters, support.features[order], support.labels[order], support.n_way, support.steps
    )
    assert state_difference(shuffled, state) <= tolerance(support)
    assert loss_difference(shuffled_losses, losses) <= tolerance(support)


@settings(max_examples=20, deadline=None)
@given(support_sets(ways=10, shots=4, size=30, steps=10))
def test_a_query_gets_the_same_logits_alone_and_in_a_batch(support: SupportSet) -> None:
    parameters = parameters_of(support)
    state, _ = run_adapt(parameters, support.features, support.labels, support.n_way, support.steps)
    together = run_predict(parameters, support.query, state)
    alone = np.concatenate([run_predict(parameters, query[None], state) for query in support.query])
    assert together.shape == (len(support.query), support.n_way)
    assert relative_difference(alone, together) <= 1e-6


def test_no_more_than_one_image_of_each_of_two_classes_is_needed() -> None:
    features = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    parameters = GradientHeadParameters(1.0, 1e-3)
    for steps in (0, 1, 60):
        state, losses = run_adapt(parameters, features, np.array([1, 0], np.int64), 2, steps)
        assert losses.shape == (steps,)
        assert run_predict(parameters, features, state).argmax(1).tolist() == [1, 0]


@pytest.mark.parametrize("scale", [None, 0.3])
def test_the_files_say_nothing_of_where_they_were_made(scale: float | None) -> None:
    graphs = gradient_head_graphs(GradientHeadParameters(scale, 1e-3), 24)
    for name, data in (("adapt.onnx", graphs.adapt), ("predict.onnx", graphs.predict)):
        check_graph(data, name)
        model = onnx.load_from_string(data)
        assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
        assert model.ir_version == 8
        assert not model.producer_name and not model.producer_version and not model.metadata_props
        assert not model.doc_string and not model.functions and not model.graph.doc_string
        nodes = all_nodes(model.graph)
        assert {node.op_type for node in nodes} <= ALLOWED_OPERATORS
        assert not any(node.doc_string or node.name or node.metadata_props for node in nodes)
        checkout = str(Path(__file__).parents[3]).encode()
        assert not any(marker in data for marker in (checkout, b"site-packages", b".py", b"onnx"))


def all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of a graph and of all graphs inside it."""
    nodes = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                nodes += all_nodes(attribute.g)
    return nodes


def test_the_same_numbers_give_the_same_bytes() -> None:
    parameters = GradientHeadParameters(0.3, 1e-3)
    assert gradient_head_graphs(parameters, 24) == gradient_head_graphs(parameters, 24)
