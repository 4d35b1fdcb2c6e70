"""Reptile against ordinary training written by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.reptile import INNER_RATE, MoveTowardsAdapted
from edge_adapt.networks.episode_model import AllLayersModel
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner
from edge_adapt.training.start import drawing_from
from tests.training_runs import train

CPU = torch.device("cpu")
N_WAY = 3


def smooth_backbone() -> nn.Module:
    """28x28 grey images to 4 features."""
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(7), nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4), nn.Tanh())


def configured(n_shot: int, n_query: int, steps: int) -> TrainingConfig:
    return TrainingConfig.of(
        method="reptile", backbone="custom", grayscale=True, n_way=N_WAY, n_shot=n_shot, n_query=n_query, steps=steps,
        meta_batch=2, initialization="zero",
    )  # fmt: skip


def trained_by_hand(learner: MetaLearner, images: Tensor, n_shot: int, steps: int) -> tuple[nn.Module, float, float]:
    """Ordinary training on an episode [N, K, H, W, C]; then the last step's loss and accuracy before it was taken."""
    backbone = copy.deepcopy(learner.embedding.backbone)
    last = nn.Linear(4, N_WAY)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    parts = images.shape[1] // n_shot
    labels = torch.arange(N_WAY).repeat_interleave(n_shot)
    batches = [
        learner.embedding.normalize(images[:, part * n_shot : (part + 1) * n_shot].flatten(0, 1))
        for part in range(parts)
    ]
    with torch.no_grad():
        unit = N_WAY / (backbone(batches[0]).square().sum(1) + 1).mean().item()
    loss, accuracy = 0.0, 0.0
    for step in range(steps):
        logits = last(backbone(batches[step % parts]))
        value = functional.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(value, [*backbone.parameters(), *last.parameters()])
        rates = [INNER_RATE] * (len(gradients) - 2) + [unit] * 2
        with torch.no_grad():
            for parameter, gradient, rate in zip(
                [*backbone.parameters(), *last.parameters()], gradients, rates, strict=True
            ):
                parameter.sub_(rate * gradient)
        loss, accuracy = value.item(), (logits.argmax(1) == labels).float().mean().item()
    return backbone, loss, accuracy


@pytest.mark.parametrize("at_once", [False, True], ids=["in a loop", "under vmap"])
@pytest.mark.parametrize(("n_shot", "n_query", "steps"), [(1, 1, 1), (2, 2, 2), (1, 3, 6), (2, 3, 3)])
def test_the_gradient_is_the_way_back_from_where_ordinary_training_leads(
    training_data: ImageDataset,
    n_shot: int,
    n_query: int,
    steps: int,
    at_once: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(InnerLoop, "at_once", lambda *_: at_once)
    config = configured(n_shot, n_query, steps)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), smooth_backbone())
    sampler = ImageSampler(training_data, CPU)
    drawing = drawing_from(sampler, config)
    drawing.generator.manual_seed(1)
    loss, accuracy = MoveTowardsAdapted(drawing, steps).accumulate(learner, 2, 1.0)
    episodes = sampler.draw_episodes(2, N_WAY, n_shot + n_query, torch.Generator().manual_seed(1))
    ends = [trained_by_hand(learner, images, n_shot, steps) for images in episodes]
    for index, parameter in enumerate(learner.embedding.backbone.parameters()):
        adapted = torch.stack([list(backbone.parameters())[index].detach() for backbone, _, _ in ends]).mean(0)
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, parameter.detach() - adapted, rtol=1e-4, atol=1e-6)
    assert loss.item() == pytest.approx(sum(end[1] for end in ends) / 2, rel=1e-4)
    assert accuracy.item() == pytest.approx(sum(end[2] for end in ends) / 2)
    assert all(parameter.grad is None for parameter in learner.head.parameters())


def test_fewer_queries_than_shots_are_refused(training_data: ImageDataset) -> None:
    data = drawing_from(ImageSampler(training_data, CPU), configured(3, 2, 2))
    with pytest.raises(
        EdgeAdaptError, match=r"2 queries a class are fewer than its 3 shots; choose --query 3 or more\."
    ):
        MoveTowardsAdapted(data, 2)


@pytest.mark.slow
def test_it_learns_to_adapt_to_new_classes(
    training_data: ImageDataset, new_classes: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    accuracies = []
    for iterations in (1, 60):
        config = tiny_config(
            method="reptile",
            n_way=5,
            n_shot=2,
            n_query=4,
            steps=3,
            meta_batch=2,
            iterations=iterations,
            learning_rate=0.01,
        )
        train(training_data, tmp_path / str(iterations), config, device="cpu", micro_batch=2, bf16=False)
        learner, _ = load_learner(tmp_path / str(iterations))
        result = evaluate_episodes(
            AllLayersModel(learner, CPU, config.preprocessing),
            new_classes,
            EvaluationProtocol(n_way=5, n_shot=2, n_query=10, episodes=20, steps=3, seed=0),
        )
        accuracies.append(result.accuracy)
    assert accuracies[1] > max(accuracies[0] + 0.05, 0.3)
