"""Matching in the light of the support set: against NumPy written from the paper, against its graphs, and on a device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.methods.matching import READINGS, FullContextHead, Matching
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.sessions import Session, scalar
from edge_adapt.training.config import TrainingConfig
from tests.reference import relative_difference
from tests.support_sets import SupportSet, support_sets
from tests.training_runs import train

Array = NDArray[np.float64]
small_sets = support_sets(ways=5, shots=4, size=6, steps=2)


def head_of(feature_size: int) -> FullContextHead:
    torch.manual_seed(feature_size)
    return FullContextHead(feature_size, 9.0)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def cell_step(raw: Array, cell: Array) -> tuple[Array, Array]:
    enter, forget, new, leave = np.split(raw, 4, -1)
    cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
    return sigmoid(leave) * np.tanh(cell), cell


def by_the_paper(head: FullContextHead, support: SupportSet) -> Array:
    """The logits [B, N], one image and one query after the other."""
    numbers = {name: tensor.detach().numpy().astype(np.float64) for name, tensor in head.named_parameters()}
    rows, size = support.features.astype(np.float64), support.features.shape[1]
    embedded = rows.copy()
    for way, order in (("", range(len(rows))), ("_reverse", reversed(range(len(rows))))):
        weights = [numbers[f"of_support.{name}_l0{way}"] for name in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")]
        hidden = cell = np.zeros(size)
        for i in order:
            hidden, cell = cell_step(weights[0] @ rows[i] + weights[1] + weights[2] @ hidden + weights[3], cell)
            embedded[i] += hidden
    logits = []
    for query in support.query.astype(np.float64):
        hidden = cell = found = np.zeros(size)
        for _ in range(READINGS):
            raw = numbers["of_query.weight"] @ np.concatenate([query, hidden, found]) + numbers["of_query.bias"]
            output, cell = cell_step(raw, cell)
            hidden = query + output
            attention = np.exp(embedded @ hidden - (embedded @ hidden).max())
            found = attention / attention.sum() @ embedded
        cosines = embedded @ hidden / (np.linalg.norm(embedded, axis=1) * np.linalg.norm(hidden))
        attention = np.exp(9 * cosines) / np.exp(9 * cosines).sum()
        logits.append([np.log(attention[support.labels == n].mean()) for n in range(support.n_way)])
    return np.array(logits)


def in_torch(head: FullContextHead, support: SupportSet) -> tuple[dict[str, Array], Array]:
    with torch.no_grad():
        features, labels, query = map(torch.from_numpy, (support.features, support.labels, support.query))
        state, losses = head.adapt(features, labels, support.n_way, support.steps)
        assert losses.shape == (0,)
        return {name: tensor.numpy() for name, tensor in state.items()}, head.predict(query, state).numpy()


@settings(max_examples=25, deadline=None)
@given(small_sets)
def test_it_is_that_of_the_paper(support: SupportSet) -> None:
    head = head_of(support.features.shape[1])
    np.testing.assert_allclose(in_torch(head, support)[1], by_the_paper(head, support), rtol=1e-3, atol=1e-3)


@settings(max_examples=25, deadline=None)
@given(small_sets)
def test_the_graphs_agree_with_pytorch(support: SupportSet) -> None:
    head = head_of(support.features.shape[1])
    graphs = head.graphs(support.features.shape[1])
    state, logits = in_torch(head, support)
    adapt = Session(graphs.adapt, "adapt", ("features", "targets", "n_way", "steps"))
    feeds: dict[str, NDArray[Any]] = {"features": support.features, "targets": support.labels}
    found = dict(
        zip(adapt.outputs, adapt.run({**feeds, "n_way": scalar(support.n_way), "steps": scalar(0)}), strict=True)
    )
    assert found.pop("losses").shape == (0,) and tuple(found) == graphs.state == tuple(state)
    for name, array in state.items():
        assert relative_difference(found[name], array) <= 1e-5
    predict = Session(graphs.predict, "predict", ("features", *graphs.state))
    (answers,) = predict.run({"features": support.query, **found})
    assert relative_difference(answers, logits) <= 1e-4
    (alone,) = predict.run({"features": support.query[2:3], **found})  # whatever is asked beside it
    np.testing.assert_allclose(alone[0], answers[2], rtol=1e-4, atol=1e-5)


def test_episodes_adapt_together_as_one_by_one() -> None:
    head, labels = head_of(4).double(), torch.arange(3).repeat_interleave(2)
    features, query = torch.randn(2, 3, 6, 4, dtype=torch.float64), torch.randn(2, 3, 5, 4, dtype=torch.float64)
    state, _ = head.adapt(features, labels.expand(2, 3, -1), 3, 0)
    logits = head.predict(query, state)
    for i, j in np.ndindex(2, 3):
        one, _ = head.adapt(features[i, j], labels, 3, 0)
        torch.testing.assert_close(logits[i, j], head.predict(query[i, j], one), rtol=1e-10, atol=1e-12)


def test_the_gradient_is_that_of_finite_differences() -> None:
    head, labels = head_of(3).double(), torch.arange(3).repeat_interleave(2)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    query = torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True)

    def loss(head: FullContextHead, features: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        state, _ = head.adapt(features, labels, 3, 0)
        return head.loss(head.predict(query, state), torch.tensor([0, 1, 2, 0]))

    inputs = [features, query, *head.parameters()]
    gradients = torch.autograd.grad(loss(head, features, query), inputs)
    assert all(bool((gradient != 0).any()) for gradient in gradients)
    for _ in range(5):
        direction = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in inputs]
        values = []
        for sign in (1e-6, -1e-6):
            moved = copy.deepcopy(head)
            with torch.no_grad():
                for parameter, change in zip(moved.parameters(), direction[2:], strict=True):
                    parameter.add_(change, alpha=sign)
                values.append(loss(moved, features + sign * direction[0], query + sign * direction[1]).item())
        along = sum((g * change).sum().item() for g, change in zip(gradients, direction, strict=True))
        assert along == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-8)


def test_a_device_runs_it(
    training_data: ImageDataset, tiny_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = tiny_config(method="matching", full_context=True, steps=None, iterations=2)
    train(training_data, tmp_path / "run", config, device="cpu", micro_batch=1, bf16=False)
    export_bundle(tmp_path / "run", tmp_path / "model.edge")
    model = load_model(tmp_path / "model.edge", "cpu", 1)
    images = {
        name: list(training_data.images[at : at + 3]) for name, at in zip("ab", training_data.starts, strict=False)
    }
    classifier = model.adapt(images)
    assert classifier.adaptation.head_state["support"].shape == (6, model.manifest.feature_size)
    assert classifier.classify(training_data.images[0]).label in "ab"


def test_it_is_a_setting_of_matching_alone() -> None:
    assert isinstance(Matching(full_context=True).head(4, False), FullContextHead)
    assert not isinstance(Matching().head(4, False), FullContextHead)
    with pytest.raises(EdgeAdaptError, match=r"^full_context is not for the method protonet; leave it out\.$"):
        TrainingConfig.of("protonet", full_context=True)
