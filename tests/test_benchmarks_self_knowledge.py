"""The benchmarks of what a classifier knows about itself: twice the photos, and photos of no class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx")  # which benchmarks.steps imports

from benchmarks import learning_curve, others
from edge_adapt.runtime.bundle.card import Priors
from edge_adapt.runtime.data.episodes import Episode
from edge_adapt.runtime.evaluation import Features
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model
from tests.tiny_model import variant


def episode(n_way: int, n_shot: int, n_query: int) -> Episode:
    """Support images first, then queries, each class in a row."""
    support, query = np.arange(n_way * n_shot), n_way * n_shot + np.arange(n_way * n_query)
    return Episode(support, np.repeat(np.arange(n_way), n_shot), query, np.repeat(np.arange(n_way), n_query))


def apart(graphs: Graphs, drawn: Episode, noise: float) -> NDArray[np.float32]:
    """Features of images of classes that lie apart."""
    random, size = np.random.default_rng(0), graphs.manifest.feature_size
    centres = random.normal(size=(int(drawn.support_labels.max()) + 1, size))
    labels = np.concatenate([drawn.support_labels, drawn.query_labels])
    return np.asarray(centres[labels] + noise * random.normal(size=(len(labels), size)), np.float32)


@pytest.fixture
def graphs(tmp_path: Path) -> Graphs:
    priors = Priors(0.7, -0.3, 0.1, -1.0, 0.2)
    return load_model(variant(tmp_path / "model.edge", priors=priors), "cpu").graphs


def test_where_nothing_is_wrong_nothing_is_to_be_gained(graphs: Graphs) -> None:
    drawn = episode(3, 8, 5)
    features = apart(graphs, drawn, 0.01)
    found = learning_curve.measure(graphs, Features(features, features), drawn, 4, np.random.default_rng(0))
    assert found == (1, 1, 1, 1, 1)
    assert learning_curve.row([found, found])[0] == "100.0 / 100.0"


def test_the_exponent_is_near_the_common_one_without_errors_and_never_negative(graphs: Graphs) -> None:
    labels = np.repeat(np.arange(4), 6)
    exponents = []
    for noise in (0.01, 1.5):
        shots = apart(graphs, episode(4, 6, 1), noise)[:24]
        exponents.append(learning_curve.exponent(graphs, shots, labels, 6, np.random.default_rng(0)))
    assert exponents[0] == pytest.approx(learning_curve.COMMON_EXPONENT, abs=0.15) and 0 <= exponents[1] <= 1.5


def test_photos_of_the_unknown_classes_tell_them_apart_better(graphs: Graphs) -> None:
    drawn = episode(6, 10, 8)
    features = apart(graphs, drawn, 0.8)
    found = others.measure(graphs, Features(features, features), drawn, 2, 5)
    assert len(found) == len(others.GIVEN) and all(0 <= value <= 1 for told in found for value in told)
    assert found[-1].auroc >= found[0].auroc
    assert others.rows_of("a", 100 * np.array(found), (2, 3))[0] == "a"
