"""The graphs of the memory head against PyTorch and NumPy, and the whole way from training to a classified image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")

import torch

from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.export.heads.memory import HEAD_STATE
from edge_adapt.methods.memory import MemoryHead
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.runtime.model import load_classifier, load_model
from edge_adapt.runtime.sessions import Session, scalar
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner
from tests import memory_heads
from tests.gratings import write_images
from tests.memory_heads import random_head
from tests.support_sets import SupportSet, support_sets
from tests.tiny_model import predictions
from tests.training_runs import train

State = dict[str, NDArray[np.float32]]
seeds = st.integers(0, 2**32 - 1)


def in_onnx(head: MemoryHead, support: SupportSet) -> tuple[State, NDArray[np.float32]]:
    """Head state and logits of the graphs."""
    graphs = head.graphs(support.features.shape[1])
    assert graphs.state == HEAD_STATE
    adapt = Session(graphs.adapt, "adapt", ("features", "targets", "n_way", "steps"))
    predict = Session(graphs.predict, "predict", ("features", *HEAD_STATE))
    feeds: dict[str, NDArray[Any]] = {
        "features": support.features,
        "targets": support.labels,
        "n_way": scalar(support.n_way),
        "steps": scalar(support.steps),
    }
    state = dict(zip(adapt.outputs, adapt.run(feeds), strict=True))
    assert state.pop("losses").shape == (0,) and tuple(state) == HEAD_STATE
    (logits,) = predict.run({"features": support.query, **state})
    return state, logits


def check_against_torch(head: MemoryHead, support: SupportSet) -> tuple[State, NDArray[np.float32]]:
    """Head state within 1e-5 of what PyTorch gives, whose largest number is 1 or less, and logits within 1e-4 nats.

    Returns both, as the graphs give them.
    """
    state, logits = in_onnx(head, support)
    features, labels, query = map(torch.from_numpy, (support.features, support.labels, support.query))
    with torch.no_grad():
        expected, _ = head.adapt(features, labels, support.n_way, support.steps)
        expected_logits = head.predict(query, expected)
    for name in HEAD_STATE:
        np.testing.assert_allclose(state[name], expected[name], rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-4)
    return state, logits


@settings(max_examples=25, deadline=None)
@given(support_sets(ways=20, shots=8, size=200, steps=3), seeds)
def test_the_graphs_agree_with_pytorch(support: SupportSet, seed: int) -> None:
    check_against_torch(random_head(support.features.shape[1], seed), support)


@settings(max_examples=25, deadline=None)
@given(support_sets(ways=8, shots=8, size=30, steps=0), st.integers(1, 20), seeds)
def test_they_agree_where_slots_are_erased(support: SupportSet, slots: int, seed: int) -> None:
    head = random_head(support.features.shape[1], seed, slots)
    written = memory_heads.write(support.features, support.labels, support.n_way, head, slots)
    assume(written.margin > 1e-4)  # rounding may take either of two slots that are used alike
    assume(written.shortest > 1e-2)
    state, logits = check_against_torch(head, support)
    np.testing.assert_allclose(state["keys"], written.keys, rtol=0, atol=1e-5)
    np.testing.assert_allclose(state["labels"], written.labels, rtol=0, atol=1e-5)
    np.testing.assert_allclose(logits, memory_heads.read(support.query, written, head), rtol=0, atol=1e-4)


def test_two_hundred_ways_with_more_images_than_slots() -> None:
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(200, dtype=np.int64), [1, 5] * 100)
    features, query = (random.normal(size=(count, 20)).astype(np.float32) for count in (len(labels), 7))
    check_against_torch(random_head(20, 0), SupportSet(features, labels, query, 200, 0, None))


@settings(max_examples=20, deadline=None)
@given(support_sets(ways=10, shots=4, size=30, steps=0), seeds)
def test_a_query_gets_the_same_logits_alone_and_in_a_batch(support: SupportSet, seed: int) -> None:
    head = random_head(support.features.shape[1], seed)
    state, together = in_onnx(head, support)
    graphs = head.graphs(support.features.shape[1])
    predict = Session(graphs.predict, "predict", ("features", *HEAD_STATE))
    alone = [predict.run({"features": query[None], **state})[0] for query in support.query]
    np.testing.assert_allclose(np.concatenate(alone), together, rtol=0, atol=1e-5)


def test_the_same_numbers_give_the_same_bytes() -> None:
    assert random_head(9, 3).graphs(9) == random_head(9, 3).graphs(9)


@pytest.fixture(scope="module")
def run(
    tmp_path_factory: pytest.TempPathFactory, training_data: ImageDataset, tiny_config: Callable[..., TrainingConfig]
) -> Path:
    """A run of a few seconds."""
    folder = tmp_path_factory.mktemp("memory") / "run"
    config = tiny_config(method="memory", steps=None, n_shot=2, iterations=30)
    train(training_data, folder, config, device="cpu", micro_batch=1, bf16=False, trained_on="drawn gratings")
    return folder


def test_it_learns_to_tell_new_classes_apart(run: Path, new_classes: ImageDataset) -> None:
    trained, checkpoint = load_learner(run)
    untrained = build_learner(checkpoint.config, trained.embedding.mean, trained.embedding.std).eval()
    protocol = EvaluationProtocol(n_query=10, episodes=60, steps=0, seed=7)
    accuracies = [
        evaluate_episodes(LearnerModel(learner, torch.device("cpu")), new_classes, protocol).accuracy
        for learner in (untrained, trained)
    ]
    assert accuracies[1] > accuracies[0] + 0.2
    assert trained.head.alpha != 0


def test_a_device_adapts_and_classifies(run: Path, new_classes: ImageDataset, tmp_path: Path) -> None:
    export_bundle(run, tmp_path / "memory.edge")
    model = load_model(tmp_path / "memory.edge", "cpu")
    assert (model.manifest.method, model.manifest.default_steps, model.manifest.max_support) == ("memory", 0, None)
    folders = sorted(path for path in write_images(tmp_path / "photos", new_classes).iterdir())
    photos = {folder.name: sorted(folder.iterdir()) for folder in folders}
    shots = {label: files[: 1 + 2 * (index % 3)] for index, (label, files) in enumerate(photos.items())}
    classifier = model.adapt(shots)
    assert classifier.adaptation.losses == () and classifier.adaptation.leave_one_out is not None
    queries = [(label, file) for label, files in photos.items() for file in files[5:]]
    found = predictions(classifier, [file for _, file in queries])
    right = [prediction.label == label for prediction, (label, _) in zip(found, queries, strict=True)]
    assert np.mean(right) > 0.6  # one in eight by chance
    classifier.save(tmp_path / "mine.edge")
    again = predictions(load_classifier(tmp_path / "mine.edge", "cpu"), [file for _, file in queries])
    assert again == found
