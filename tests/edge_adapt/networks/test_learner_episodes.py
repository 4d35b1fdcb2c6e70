"""Episodes of a learner: in a loop and under vmap, the outer loss over them, and what precision and chance are in it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.gradient_head import GradientHead, Initialization
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.networks.learner import Embedding, MetaLearner
from tests.edge_adapt.networks.test_learner import both_heads, learned
from tests.training_runs import loss_of_images


def conv4_learner(initialization: Initialization, method: str) -> MetaLearner:
    """A narrow conv4 for 16x16 gray images, for anil, maml or fomaml."""
    torch.manual_seed(1)
    backbone = Conv4(1, "group", width=8)
    inner_loop = None if method == "anil" else InnerLoop(backbone, first_order=method == "fomaml")
    return MetaLearner(
        Embedding(backbone, torch.tensor([0.5]), torch.tensor([0.3])), GradientHead(initialization), inner_loop
    )


def episodes(count: int = 3) -> Tensor:
    """uint8 [count, 4, 2 + 3, 16, 16, 1]."""
    shape = (count, 4, 5, 16, 16, 1)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@both_heads
@pytest.mark.parametrize("method", ["maml", "fomaml"])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.3, 0.7])], ids=["last step", "every step"])
def test_episodes_in_a_loop_are_episodes_under_vmap(
    initialization: Initialization, method: str, weights: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = conv4_learner(initialization, method)
    found = []
    for at_once in (False, True):
        monkeypatch.setattr(InnerLoop, "at_once", lambda *_, at_once=at_once: at_once)
        loss, accuracy = loss_of_images(learner, episodes(), 2, 2, weights=weights)
        gradients = torch.autograd.grad(loss, learned(learner), allow_unused=True, materialize_grads=True)
        found.append((loss, accuracy, gradients))
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-5)


def test_dropout_under_vmap_drops_other_features_of_each_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(InnerLoop, "at_once", lambda *_: True)
    learner = conv4_learner("prototype", "maml")
    learner.embedding.backbone = nn.Sequential(learner.embedding.backbone, nn.Dropout(0.5))
    learner.inner_loop = InnerLoop(learner.embedding.backbone)
    same = episodes(1).expand(2, -1, -1, -1, -1, -1)
    losses: list[float] = []

    def noted(logits: Tensor, labels: Tensor) -> Tensor:
        losses.extend(functional.cross_entropy(each, label).item() for each, label in zip(logits, labels, strict=True))
        return logits.sum()

    monkeypatch.setattr(learner.head, "loss", noted)
    loss_of_images(learner, same, 2, 2)
    assert losses[0] != losses[1]


@both_heads
@pytest.mark.parametrize("method", ["anil", "maml", "fomaml"])
def test_the_outer_loss_is_the_mean_over_episodes_taken_apart(initialization: Initialization, method: str) -> None:
    learner = conv4_learner(initialization, method)
    images = episodes()
    loss, accuracy = loss_of_images(learner, images, 2, 3)
    losses, right = [], []
    for episode in images:
        support = torch.stack([episode[label, shot] for label in range(4) for shot in (0, 1)])
        query = torch.stack([episode[label, shot] for label in range(4) for shot in (2, 3, 4)])
        labels = torch.tensor([label for label in range(4) for _ in range(2)])
        query_labels = torch.tensor([label for label in range(4) for _ in range(3)])
        if method == "anil":
            state, _ = learner.adapt(learner.embed(support), labels, 4, 3)
            logits = learner.predict(learner.embed(query), state)
        else:
            normalize = learner.embedding.normalize
            state, _ = learner.adapt_all_layers(normalize(support), labels, 4, 3)
            logits = learner.predict_all_layers(normalize(query), state)
        losses.append(functional.cross_entropy(logits, query_labels).item())
        right += (logits.argmax(1) == query_labels).tolist()
    assert loss.item() == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert accuracy.item() == pytest.approx(sum(right) / len(right))


@pytest.mark.parametrize("method", ["anil", "maml"])
def test_autocast_leaves_the_head_in_float32(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = conv4_learner("prototype", method)
    seen = []
    predict = learner.head.predict

    def spy(features: Tensor, state: dict[str, Tensor]) -> Tensor:
        logits = predict(features, state)
        seen.append((torch.is_autocast_enabled("cpu"), logits.dtype))
        return logits

    monkeypatch.setattr(learner.head, "predict", spy)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = loss_of_images(learner, episodes(), 2, 1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert set(seen) == {(False, torch.float32)}


def test_the_multi_step_loss_is_the_weighted_query_loss_after_each_step() -> None:
    learner, images = conv4_learner("prototype", "maml"), episodes()
    weights = torch.tensor([0.2, 0.3, 0.5])
    loss, accuracy = loss_of_images(learner, images, 2, 3, weights=weights)
    expected, accuracies = zip(*(loss_of_images(learner, images, 2, steps) for steps in (1, 2, 3)), strict=True)
    torch.testing.assert_close(loss, (weights * torch.stack(expected)).sum(), rtol=1e-5, atol=1e-6)
    assert accuracy == accuracies[-1]
