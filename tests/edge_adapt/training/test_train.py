"""Meta-training: that it learns, and that it is reproducible."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from edge_adapt.methods.objective import query_loss
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.training import outer_step
from edge_adapt.training import run as run_module
from edge_adapt.training.build import build_learner
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner, load_sample
from tests.training_runs import Configure, Small, assert_same_run, seeded, train


def test_the_loss_falls_and_new_classes_are_told_apart(trained_run: Path, new_classes: ImageDataset) -> None:
    trained, checkpoint = load_learner(trained_run)
    losses = [record.loss for record in checkpoint.records]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    torch.manual_seed(checkpoint.config.seed)
    untrained = build_learner(checkpoint.config, trained.embedding.mean, trained.embedding.std).eval()
    accuracies = [
        evaluate_episodes(
            LearnerModel(learner, torch.device("cpu")),
            new_classes,
            EvaluationProtocol(n_way=5, n_shot=1, n_query=10, episodes=60, steps=3, seed=7),
        ).accuracy
        for learner in (untrained, trained)
    ]
    assert accuracies[1] > accuracies[0] + 0.2
    assert checkpoint.records[-1].validation == pytest.approx(accuracies[1], abs=0.1)


@pytest.mark.parametrize("method", ["maml", pytest.param("fomaml", marks=pytest.mark.slow)])
def test_an_inner_loop_on_all_layers_learns_too(
    method: str, tiny_config: Configure, training_data: ImageDataset, tmp_path: Path
) -> None:
    config = tiny_config(method=method, iterations=60, n_way=3, n_query=2, steps=1, learning_rate=0.01)
    checkpoint = train(
        training_data, tmp_path / "run", config, device="cpu", micro_batch=1, bf16=False, backbone=seeded(Small)
    )
    losses = [record.loss for record in checkpoint.records]
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:10])
    learner, _ = load_learner(tmp_path / "run", Small())
    assert learner.inner_loop is not None and len(learner.inner_loop.rates) == len(list(Small().parameters()))


def test_a_run_leaves_its_configuration_figures_and_sample(
    trained_run: Path, new_classes: ImageDataset, tiny_config: Configure
) -> None:
    assert sorted(path.name for path in trained_run.iterdir()) == [
        "checkpoint.pt",
        "curve.png",
        "metrics.csv",
        "origin.json",
        "run.json",
        "sample.npz",
    ]
    described = json.loads((trained_run / "run.json").read_text())
    assert TrainingConfig.from_dict(described["config"]) == tiny_config()
    assert described["execution"] == {"micro_batch": 1, "bf16": False, "fused": False, "device": "cpu"}
    assert described["trained_on"] == "drawn gratings"
    with (trained_run / "metrics.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [int(line["iteration"]) for line in lines] == list(range(1, 41))
    seconds = [float(line["seconds"]) for line in lines]
    assert seconds == sorted(seconds)
    measured = {int(line["iteration"]): float(line["validation"]) for line in lines if line["validation"]}
    assert set(measured) == set(range(2, 41, 2))
    assert all(0 <= value <= 1 for value in measured.values())
    sample = load_sample(trained_run)
    assert sample.class_names == new_classes.class_names
    assert np.array_equal(sample.images, new_classes.images)
    assert np.array_equal(sample.starts, new_classes.starts)


def test_the_sample_is_spread_over_many_classes(tmp_path: Path) -> None:
    data = ImageDataset(
        "many",
        np.arange(47 * 23, dtype=np.uint32).astype(np.uint8).reshape(-1, 1, 1, 1),
        tuple(f"class {label}" for label in range(47)),
        np.arange(48, dtype=np.int64) * 23,
    )
    run_module.save_sample(tmp_path, data)
    sample = load_sample(tmp_path)
    assert sample.class_names == tuple(f"class {label}" for label in range(0, 40, 2))
    assert sample.counts.tolist() == [20] * 20
    for index, label in enumerate(range(0, 40, 2)):
        assert np.array_equal(sample.images[index * 20 : index * 20 + 20], data.images[label * 23 : label * 23 + 20])


def test_the_sample_leaves_out_classes_that_are_too_small_for_an_episode(tmp_path: Path) -> None:
    counts = [1, 2, 0, 30, 1, 3]
    starts = np.cumsum([0, *counts], dtype=np.int64)
    data = ImageDataset("few", np.arange(37, dtype=np.uint8).reshape(-1, 1, 1, 1), tuple("abcdef"), starts)
    run_module.save_sample(tmp_path, data)
    sample = load_sample(tmp_path)
    assert sample.class_names == ("b", "d", "f") and sample.counts.tolist() == [2, 20, 3]
    assert sample.images.ravel().tolist() == [1, 2, *range(3, 23), 34, 35, 36]


def test_an_outer_step_takes_the_mean_gradient_of_its_pieces_at_a_scheduled_rate(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    slopes, taken = iter(range(1, 99)), []
    step = torch.optim.Adam.step

    def linear_loss(learner: Any, *_: Any) -> tuple[Tensor, Tensor]:
        slope = next(slopes)
        parameter = learner.head.log_pull
        return slope * (1 + parameter - parameter.detach()), torch.tensor(slope / 100)

    def spy(self: torch.optim.Adam, *arguments: Any) -> Any:
        (group,) = self.param_groups
        (gradient,) = (parameter.grad.item() for parameter in group["params"] if parameter.grad is not None)
        taken.append((group["lr"], gradient))
        return step(self, *arguments)

    monkeypatch.setattr("edge_adapt.methods.objective.query_loss", linear_loss)
    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    monkeypatch.setattr(outer_step, "WARM_UP", 4)
    checkpoint = brief(tiny_config(iterations=8, meta_batch=6, learning_rate=0.5), micro_batch=2, backbone=Small())
    rates, gradients = zip(*taken, strict=True)
    assert gradients == pytest.approx([3 * index + 2 for index in range(8)])
    half_cosine = np.cos(np.pi * np.arange(8) / 8) / 2 + 0.5
    assert rates == pytest.approx(0.5 * half_cosine * np.array([0.25, 0.5, 0.75, 1, 1, 1, 1, 1]))
    assert [record.loss for record in checkpoint.records] == pytest.approx([3 * index + 2 for index in range(8)])
    assert [record.accuracy for record in checkpoint.records] == pytest.approx(
        [(3 * index + 2) / 100 for index in range(8)]
    )


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    config = tiny_config(iterations=4, augment=True)
    first = brief(config, "first")
    assert_same_run(first, brief(config, "second"))
    other = brief(tiny_config(iterations=4, augment=True, seed=1), "other")
    name = "embedding.backbone.convolutions.0.weight"
    assert not torch.equal(other.learner[name], first.learner[name])


def test_another_seed_draws_other_episodes(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[int, list[bytes]] = {0: [], 1: [], 2**32 - 1: []}
    for seed, episodes in drawn.items():

        def spy(learner: Any, images: Tensor, *rest: Any, into: list[bytes] = episodes) -> Any:
            into.append(images.numpy().tobytes())
            return query_loss(learner, images, *rest)

        monkeypatch.setattr("edge_adapt.methods.objective.query_loss", spy)
        brief(tiny_config(iterations=3, seed=seed), f"run {seed}", backbone=Small())
    assert [len(set(episodes)) for episodes in drawn.values()] == [6, 6, 6]  # three outer steps of two
    assert len(set.union(*map(set, drawn.values()))) == 18
