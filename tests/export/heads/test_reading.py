"""The graphs `adapt` and `predict` of the head that reads values against NumPy in float64."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("onnx")

from edge_adapt.export.heads.reading import MOST_NUISANCE, STRENGTH, TEMPERATURE, reading_head_graphs
from edge_adapt.runtime.regressor.head import HEAD, HEAD_STATE
from edge_adapt.runtime.sessions import Session, scalar
from tests.reference import relative_difference

Array = NDArray[np.float64]
STEPS = 20


@cache
def sessions() -> tuple[Session, Session]:
    """`adapt` and `predict` in ONNX Runtime."""
    graphs = reading_head_graphs()
    return (
        Session(graphs.adapt, "adapt", ("features", "targets", "steps")),
        Session(graphs.predict, "predict", ("features", *HEAD_STATE)),
    )


def in_onnx(
    features: NDArray[Any], targets: NDArray[Any], query: NDArray[Any], steps: int = STEPS
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values of the queries, and losses."""
    adapt, predict = sessions()
    feeds: dict[str, NDArray[Any]] = {
        "features": features.astype(np.float32),
        "targets": targets.astype(np.float32),
        "steps": scalar(steps),
    }
    outputs = dict(zip(adapt.outputs, adapt.run(feeds), strict=True))
    losses = outputs.pop("losses")
    assert tuple(outputs) == HEAD_STATE and all(np.isfinite(array).all() for array in outputs.values())
    return predict.run({"features": query.astype(np.float32), **outputs})[0], losses


def in_numpy(features: Array, targets: Array, query: Array) -> Array:
    """The values by the formulas, with a solver in the place of steps."""
    taught, group = np.unique(targets, axis=0, return_inverse=True)
    group = group.ravel()
    means = np.stack([features[group == index].mean(axis=0) for index in range(len(taught))])
    nuisance = (features - means[group])[:: -(-len(features) // MOST_NUISANCE)]
    ridge = STRENGTH * max((nuisance**2).sum(axis=1).mean(), 1e-20) * np.eye(len(nuisance))

    def products(left: Array, right: Array) -> Array:
        explained = nuisance.T @ np.linalg.solve(nuisance @ nuisance.T + ridge, nuisance @ right.T)
        return np.asarray(left @ (right.T - explained))

    origin = means.mean(axis=0)
    centred = means - origin
    own = np.diag(products(centred, centred))

    logits = (products(query - origin, centred) - own / 2) / own.mean() / TEMPERATURE
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True) @ taught)


def task(seed: int, photos: int, looks: int, size: int, values: int) -> tuple[Array, Array, Array]:
    """Looks at photos [photos * looks, size] that differ in a few directions, what they read, and queries."""
    random = np.random.default_rng(seed)
    means, taught = random.normal(size=(photos, size)), random.normal(3, 2, (photos, values))
    directions = random.normal(size=(3, size))
    features = means[:, None] + random.normal(size=(photos, looks, 3)) @ directions * 2
    features += random.normal(0, 0.1, features.shape)
    rounded = (
        array.astype(np.float32).astype(np.float64)
        for array in (
            features.reshape(-1, size),
            np.repeat(taught, looks, axis=0),
            means + random.normal(0, 1, (photos, size)),
        )
    )
    first, second, third = rounded
    return first, second, third


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 40), st.integers(1, 9), st.integers(12, 60), st.integers(1, 3))
def test_the_graphs_agree_with_numpy(seed: int, photos: int, looks: int, size: int, values: int) -> None:
    features, targets, query = task(seed, photos, looks, size, values)
    found, losses = in_onnx(features, targets, query)
    assert losses.shape == (STEPS,)
    assert relative_difference(found, in_numpy(features, targets, query)) <= 1e-3


def test_steps_fall_and_end_at_the_ridge_solution() -> None:
    features, targets, query = task(1, 10, 9, 40, 1)
    found, losses = in_onnx(features, targets, query, 40)
    assert (np.diff(losses) <= 1e-6).all() and losses[-1] < 1e-12 < losses[0]
    assert relative_difference(found, in_onnx(features, targets, query)[0]) <= 1e-4
    assert in_onnx(features, targets, query, 0)[1].shape == (0,)


def test_targets_may_be_in_any_unit_and_rows_in_any_order() -> None:
    features, targets, query = task(2, 8, 4, 30, 2)
    found, _ = in_onnx(features, targets, query)
    other_unit, _ = in_onnx(features, targets * 1000 + 5, query)
    np.testing.assert_allclose((other_unit - 5) / 1000, found, rtol=1e-3, atol=1e-3)
    order = np.random.default_rng(0).permutation(len(targets))
    assert relative_difference(in_onnx(features[order], targets[order], query)[0], found) <= 1e-3


def test_features_that_are_all_equal_read_the_mean() -> None:
    targets = np.array([[1.0], [2.0], [6.0]])
    found, _ = in_onnx(np.ones((3, 5)), targets, np.zeros((2, 5)))
    np.testing.assert_allclose(found, 3, rtol=1e-5)


def test_the_graphs_that_ship_are_these() -> None:
    graphs = reading_head_graphs()
    assert (HEAD / "adapt.onnx").read_bytes() == graphs.adapt
    assert (HEAD / "predict.onnx").read_bytes() == graphs.predict
