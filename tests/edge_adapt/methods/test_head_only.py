"""Meta-learning of the head alone: what is drawn, what is learned, and that gradient steps then help."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.methods.episodes import EpisodeSampler
from edge_adapt.methods.head_only import (
    LEAST_WAYS,
    N_QUERY,
    SHOTS,
    STEPS,
    shapes,
)
from edge_adapt.networks.episode_model import HeadModel
from edge_adapt.networks.gradient_head import GradientHead, Initialization
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.evaluation import Evaluation, evaluate_episodes
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.frozen_head import FrozenHead
from edge_adapt.training.run import load_learner
from tests.training_runs import Small, train


def numbered(counts: list[int]) -> EpisodeSampler:
    """Features that say which class and which image they are of."""
    rows = [[float(label), float(image)] for label, count in enumerate(counts) for image in range(count)]
    return EpisodeSampler(torch.tensor(rows), torch.tensor([0, *np.cumsum(counts)]), torch.device("cpu"))


def clusters(classes: int, per_class: int, seed: int, *, tilt: float = 0) -> ImageDataset:
    """Images whose bytes are float32 features (see `features_of`): classes that differ along some directions, noise along others.

    Args:
        classes, per_class: how many.
        seed: of the classes and the noise.
        tilt: how far all features lie off the origin, as those of classes far from the training data do.
    """
    random = np.random.default_rng(seed)
    centres = random.normal(0, 1, (classes, 1, 24)) * np.linspace(1.2, 0, 24)
    features = (
        centres + random.normal(0, 1, (classes, per_class, 24)) * np.linspace(0.5, 1.6, 24) + tilt * np.eye(24)[0]
    )
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    names = tuple(f"class {label}" for label in range(classes))
    starts = np.arange(classes + 1, dtype=np.int64) * per_class
    images = features.astype(np.float32).view(np.uint8).reshape(-1, 1, 1, 4 * 24)
    return ImageDataset("clusters", images, names, starts)


def features_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of those of `clusters` [B, 24]."""
    return images.reshape(len(images), -1).view(np.float32)


def frozen(data: ImageDataset, initialization: Initialization = "prototype", steps: int = STEPS) -> FrozenHead:
    rows = EpisodeSampler(
        torch.from_numpy(features_of(data.images)), torch.from_numpy(data.starts), torch.device("cpu")
    )
    return FrozenHead(initialization, rows, data.source, steps)


def accuracy(model: EpisodeModel, data: ImageDataset, n_shot: int, steps: int) -> float:
    result: Evaluation = evaluate_episodes(
        model, data, EvaluationProtocol(n_way=5, n_shot=n_shot, n_query=10, episodes=150, steps=steps, seed=0)
    )
    return result.accuracy


def test_episodes_are_of_different_classes_and_images() -> None:
    features = numbered([30] * 8)
    drawn = features.draw_episodes(50, 5, 20 + N_QUERY, torch.Generator().manual_seed(0))
    assert drawn.shape == (50, 5, 20 + N_QUERY, 2)
    labels, images = drawn[..., 0], drawn[..., 1]
    assert (labels == labels[..., :1]).all()
    for episode in range(50):
        assert len(set(labels[episode, :, 0].tolist())) == 5
        assert all(len(set(row.tolist())) == 20 + N_QUERY for row in images[episode])
    assert set(labels.flatten().tolist()) == set(range(8))


def test_classes_with_too_few_images_are_left_out_of_an_episode() -> None:
    counts = [6, 40, 11, 40, 40, 3, 40, 40, 10]
    found, features = shapes(np.array(counts), "numbers"), numbered(counts)
    assert {n_way for n_way, n_shot in found if n_shot == 20} == {2, 5}
    assert {n_way for n_way, n_shot in found if n_shot == 1} == {2, 5, 8}
    assert {n_shot for _, n_shot in found} == set(SHOTS)
    drawn = features.draw_episodes(100, 5, 20 + N_QUERY, torch.Generator().manual_seed(0))
    assert set(drawn[..., 0].flatten().tolist()) == {1, 3, 4, 6, 7}


@pytest.mark.parametrize("counts", [[40] * (LEAST_WAYS - 1), [N_QUERY] * 30, [N_QUERY + 1] * 4 + [1] * 9])
def test_too_few_classes_or_images(counts: list[int]) -> None:
    with pytest.raises(DataError, match=r"^numbers: \d of the \d+ classes have 6 images or more.*add images\.$"):
        shapes(np.array(counts), "numbers")


@pytest.fixture(scope="module")
def heads() -> dict[str, GradientHead]:
    """Learned from the same classes, one from each initialization."""
    initializations: tuple[Initialization, ...] = ("prototype", "zero")
    learned = {initialization: frozen(clusters(20, 40, 0), initialization) for initialization in initializations}
    for head in learned.values():
        head.meta_train(iterations=60)
    return {initialization: head.head for initialization, head in learned.items()}


@pytest.mark.parametrize("tilt", [pytest.param(0, marks=pytest.mark.slow), 1.5])
def test_steps_hardly_lose_with_one_shot_and_win_with_more(heads: dict[str, GradientHead], tilt: float) -> None:
    data = clusters(12, 60, 1, tilt=tilt)
    model = HeadModel(heads["prototype"], features_of)
    gains = {n: accuracy(model, data, n, STEPS) - accuracy(model, data, n, 0) for n in (1, 5, 20)}
    # Of round clusters with one shot each, as these are without the tilt, nearest is best.
    assert min(gains.values()) >= -0.006, gains
    assert min(gains[5], gains[20]) > 0, gains


def test_prototypes_are_the_better_start_where_steps_are_few(heads: dict[str, GradientHead]) -> None:
    data = clusters(12, 60, 1)
    models = {name: HeadModel(head, features_of) for name, head in heads.items()}
    for n_shot in (1, 5, 20):
        assert accuracy(models["prototype"], data, n_shot, 1) >= accuracy(models["zero"], data, n_shot, 1) - 0.003


def test_the_same_seed_learns_the_same_head() -> None:
    learned: list[list[Tensor]] = []
    for seed in (0, 0, 1):
        head = frozen(clusters(6, 12, 0))
        head.meta_train(iterations=3, seed=seed)
        learned.append([parameter.detach() for parameter in head.head.parameters()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(learned[0], learned[1], strict=True))
    assert not all(torch.equal(ours, theirs) for ours, theirs in zip(learned[0], learned[2], strict=True))


@pytest.mark.parametrize(("initialization", "steps"), [("prototype", 2), ("zero", 2), ("prototype", 0)])
def test_the_objective_leaves_the_gradient_of_its_loss(initialization: Initialization, steps: int) -> None:
    ready = frozen(clusters(6, 12, 0), initialization, steps)
    objective, learner = ready._objective, ready._learner
    objective.generator.manual_seed(0)
    value, accuracy = objective.accumulate(learner, 2, 0.5)
    found = [parameter.grad for parameter in ready.head.parameters()]
    ready.head.zero_grad()
    objective.generator.manual_seed(0)
    loss, expected = objective.loss(learner, 2)
    (loss / 2).backward()  # type: ignore[no-untyped-call]
    assert (value.item(), accuracy.item()) == (loss.item(), expected.item())
    for ours, parameter in zip(found, ready.head.parameters(), strict=True):
        assert (ours is None) == (parameter.grad is None)
        if ours is not None and parameter.grad is not None:
            torch.testing.assert_close(ours, parameter.grad)


def test_the_training_loop_learns_the_head_and_leaves_the_backbone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    training_data: ImageDataset,
    tiny_config: Callable[..., TrainingConfig],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = tiny_config(method="head-only", centred=True, learning_rate=0.1, iterations=4, meta_batch=2, n_way=50)
    with pytest.raises(
        EdgeAdaptError, match="the method head-only leaves the backbone as it is, and this one has learned"
    ):
        train(training_data, tmp_path / "run", config, device="cpu")
    options: dict[str, Any] = {"backbone": Small(), "device": "cpu", "bf16": False}
    initial = train(training_data, tmp_path / "anil", tiny_config(centred=True, iterations=1), **options)
    train(training_data, tmp_path / "run", config, weights=initial, **options)
    learner, _ = load_learner(tmp_path / "run", Small())
    fresh = GradientHead().state_dict()
    for name, tensor in learner.state_dict().items():
        if name.startswith("embedding."):
            assert torch.equal(tensor, initial.learner[name]), name
    assert not torch.equal(learner.head.state_dict()["log_pull"], fresh["log_pull"])
    assert len(list((tmp_path / "cache").glob("edge-adapt/features-*.npy"))) == 1
    export_bundle(tmp_path / "run", tmp_path / "head.edge", backbone=Small())
