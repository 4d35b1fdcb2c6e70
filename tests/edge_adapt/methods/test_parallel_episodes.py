"""Episodes that are computed side by side give what they give one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.objective import backpropagate, query_loss
from edge_adapt.methods.parallel_episodes import accumulate, pays
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import drawing_from
from tests.gratings import gratings

Configure = Callable[..., TrainingConfig]


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """However many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def learner_of(config: TrainingConfig, backbone: nn.Module | None = None) -> MetaLearner:
    torch.manual_seed(0)
    return build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), backbone).double()


def episodes(count: int) -> Tensor:
    """3-way, one shot and two queries, 16x16, normalized."""
    return torch.randn(count, 3, 3, 1, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def outcome(learner: MetaLearner, images: Tensor, weights: Tensor | None) -> tuple[float, float, list[Tensor | None]]:
    """Loss, accuracy and the gradients of three times the loss."""
    learner.zero_grad()

    def of_queries(learner: MetaLearner, images: Tensor) -> tuple[Tensor, Tensor]:
        return query_loss(learner, images, 1, 2, weights)

    if pays(learner, images):
        loss, accuracy = accumulate(of_queries, learner, images, 3.0)
    else:
        loss, accuracy = backpropagate(*of_queries(learner, images), 3.0)
    return loss.item(), accuracy.item(), [parameter.grad for parameter in learner.parameters()]


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "options",
    [
        {"method": "maml"},
        {"method": "maml", "multi_step_loss": True, "per_step_rates": True},
        pytest.param({"method": "maml", "initialization": "zero", "recompute": True}, marks=pytest.mark.slow),
        pytest.param({"method": "fomaml"}, marks=pytest.mark.slow),
        pytest.param({"method": "meta-sgd"}, marks=pytest.mark.slow),
    ],
)
def test_the_gradients_are_those_of_one_after_the_other(
    options: dict[str, Any], count: int, tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, images = learner_of(tiny_config(**{**options, "steps": 2})), episodes(count)
    weights = torch.tensor([0.3, 0.7]) if options.get("multi_step_loss") else None
    assert pays(learner, images)
    ours, again = outcome(learner, images, weights), outcome(learner, images, weights)
    monkeypatch.setitem(globals(), "pays", lambda *arguments: False)
    expected = outcome(learner, images, weights)
    assert ours[:2] == pytest.approx(expected[:2], rel=1e-6)
    for mine, repeated, theirs in zip(ours[2], again[2], expected[2], strict=True):
        if theirs is None:
            assert mine is None
            continue
        assert mine is not None and repeated is not None
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)
        assert torch.equal(mine, repeated)
    assert torch.get_num_threads() == 2


def test_episodes_whose_last_layer_alone_is_adapted_go_through_the_backbone_together(tiny_config: Configure) -> None:
    config = tiny_config(steps=2)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]))
    assert not pays(learner, torch.zeros(2))
    objective = config.method.objective(
        learner, drawing_from(ImageSampler(gratings(8, 8), torch.device("cpu")), config)
    )
    assert objective.accumulate(learner, 2, 1.0).loss > 0


def test_a_thread_has_the_precision_of_the_one_that_calls_it(tiny_config: Configure) -> None:
    seen = []

    def loss(learner: MetaLearner, images: Tensor) -> tuple[Tensor, Tensor]:
        seen.append((torch.is_autocast_enabled("cpu"), torch.get_num_threads()))
        return next(learner.parameters()).sum(), torch.ones(())

    learner = learner_of(tiny_config(method="maml"))
    accumulate(loss, learner, episodes(3), 1.0)
    with torch.autocast("cpu", torch.bfloat16):
        accumulate(loss, learner, episodes(1), 1.0)
    assert seen == [(False, 1)] * 3 + [(True, 2)]


def test_too_little_memory_for_one_of_them_is_too_little_for_all(tiny_config: Configure) -> None:
    def loss(learner: MetaLearner, images: Tensor) -> tuple[Tensor, Tensor]:
        raise MemoryError

    with pytest.raises(MemoryError):
        accumulate(loss, learner_of(tiny_config(method="maml")), episodes(2), 1.0)
    assert torch.get_num_threads() == 2


class Own(nn.Module):
    """A backbone of one's own, with a layer more."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 5, stride=5), layer, nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


class Noise(nn.Module):
    """Draws random numbers as a module of one's own may."""

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden + torch.randn_like(hidden)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5), pytest.param(nn.RReLU(), marks=pytest.mark.slow), Noise()])
def test_random_numbers_do_not_depend_on_which_thread_comes_first(
    layer: nn.Module, tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, images = learner_of(tiny_config(method="maml", steps=2), Own(layer)).train(), episodes(4)
    losses = []
    for _ in range(4):
        torch.manual_seed(5)
        losses.append(outcome(learner, images, None)[0])
        assert not pays(learner, images)
    monkeypatch.setitem(globals(), "pays", lambda *arguments: False)
    torch.manual_seed(5)
    assert set(losses) == {outcome(learner, images, None)[0]}


def test_what_depends_on_the_order_goes_one_after_the_other(tiny_config: Configure) -> None:
    config = tiny_config(method="maml")
    several = torch.zeros(2)
    assert pays(learner_of(config, Own(nn.ReLU())), several)
    assert not pays(learner_of(config, Own(nn.ReLU())), several[:1])
    with_statistics = Own(nn.ReLU())
    with_statistics.register_buffer("seen", torch.zeros(1))
    assert not pays(learner_of(config, with_statistics), several)
    torch.set_num_threads(1)
    assert not pays(learner_of(config, Own(nn.ReLU())), several)
