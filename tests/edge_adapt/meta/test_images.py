"""The methods for images are a special case of the model-agnostic core: written as a module and a loss, they are the same.

A method for images starts its last layer from the prototypes of the support set, at rates in a unit of the support set's own.
Both come from the backbone where the inner loop starts, so the module here has it twice: once to stay, once to be adapted.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.meta import Adaptation, Learner, Tasks
from edge_adapt.meta.outer_loop import LearnedRates, accumulate
from edge_adapt.methods.maml import FOMAML, MAML
from edge_adapt.methods.meta_sgd import MetaSGD
from edge_adapt.methods.method import Method
from edge_adapt.methods.objective import query_loss
from edge_adapt.methods.reptile import INNER_RATE, MoveTowardsAdapted, Reptile
from edge_adapt.networks.gradient_head import Initialization
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from tests.meta_problems import plain

N_WAY, N_SHOT, EPISODES, STEPS, FEATURES = 3, 2, 2, 3, 4
EXACT: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-10}


class Adapted(nn.Module):
    """The backbone, and how far the last layer has moved in the unit of its rates."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.weight = nn.Parameter(torch.zeros(N_WAY, FEATURES, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(N_WAY, dtype=torch.float64))


class Whole(nn.Module):
    """Backbone and last layer; images and the support set, both [.., C, H, W] with labels, to logits."""

    def __init__(self, learner: MetaLearner, constant_unit: bool) -> None:
        super().__init__()
        loop, head = learner.all_layers()
        self.start, self.adapted = copy.deepcopy(learner.embedding.backbone), Adapted(learner.embedding.backbone)
        self.log_scale = nn.Parameter(head.log_scale.detach().clone())
        self.log_bias_rate = nn.Parameter(loop.log_bias_rate.detach().clone())
        self._from_zero, self._constant_unit = head.initialization == "zero", constant_unit

    def forward(self, images: Tensor, support: Tensor) -> Tensor:
        features = self.start(support)
        prototypes = features.view(N_WAY, N_SHOT, FEATURES).mean(1) * (0.0 if self._from_zero else 1.0)
        scale = self.log_scale.exp()
        unit = N_WAY / (features.square().sum(1) + self.log_bias_rate.exp()).mean()
        unit = unit.detach() if self._constant_unit else unit
        weight = 2 * scale * prototypes + unit.sqrt() * self.adapted.weight
        bias = -scale * prototypes.square().sum(1) + unit.sqrt() * self.adapted.bias
        logits: Tensor = self.adapted.backbone(images) @ weight.T + bias
        return logits


def cross_entropy(module: nn.Module, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    images, labels, support = batch
    return functional.cross_entropy(module(images, support), labels)


def image_learner(method: Method) -> MetaLearner:
    """With a tiny smooth backbone, in float64, and rates unlike each other."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.AvgPool2d(7), nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, FEATURES))
    config = TrainingConfig(
        method=method,
        backbone="custom",
        grayscale=True,
        n_way=N_WAY,
        n_shot=N_SHOT,
        n_query=N_SHOT,
        meta_batch=EPISODES,
    )
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), backbone).double()
    if not isinstance(method, Reptile):
        loop, per_step = learner.all_layers()[0], getattr(method, "per_step_rates", False)
        with torch.no_grad():
            for rate in loop.rates.values():
                rate.copy_(0.2 * torch.randn_like(rate) if isinstance(method, MetaSGD) else torch.randn_like(rate) - 2)
            loop.log_bias_rate.fill_(-0.5)
            loop.log_head_rates.copy_(torch.randn(STEPS if per_step else 1, dtype=torch.float64).expand(STEPS) - 1)
    return learner


def episodes() -> Tensor:
    """Normalized images [E, N, K, C, H, W]."""
    torch.manual_seed(1)
    return torch.randn(EPISODES, N_WAY, 2 * N_SHOT, 1, 28, 28, dtype=torch.float64)


def as_tasks(images: Tensor) -> Tasks:
    labels = torch.arange(N_WAY).repeat_interleave(N_SHOT).expand(EPISODES, -1)
    support, query = images[:, :, :N_SHOT].flatten(1, 2), images[:, :, N_SHOT:].flatten(1, 2)
    return Tasks((support, labels, support), (query, labels, support))


def as_core(learner: MetaLearner, adaptation: Adaptation) -> tuple[Learner, LearnedRates]:
    """The same method, in the core's terms."""
    loop, _ = learner.all_layers()
    whole = Whole(learner, adaptation.meta_gradient == "first-order")
    rates = []
    for step in range(STEPS if adaptation.learned_rates == "step" else 1):
        own = {}
        for name, parameter in whole.adapted.named_parameters():
            if name.startswith("backbone."):
                rate = loop.rates[name.removeprefix("backbone.").replace(".", "/")].detach()
                rate = rate if adaptation.learned_rates == "element" else rate.exp()
                rate = rate[step] if adaptation.learned_rates == "step" else rate
            else:
                of_bias = loop.log_bias_rate.detach() if name == "bias" else 0.0
                rate = (loop.log_head_rates.detach()[step] + of_bias).exp()
                rate = rate * torch.ones_like(parameter.detach()) if adaptation.learned_rates == "element" else rate
            own[f"adapted.{name}"] = rate
        rates.append(own)
    return Learner(whole, cross_entropy, adaptation), LearnedRates(rates, adaptation)


SECOND, FIRST = {"learned_rates": "tensor"}, {"learned_rates": "tensor", "meta_gradient": "first-order"}


@pytest.mark.parametrize("initialization", ["prototype", "zero"])
@pytest.mark.parametrize(
    ("of_images", "settings", "of_core"),
    [
        (MAML, {}, SECOND),
        (MAML, {"recompute": True}, SECOND),
        (MAML, {"per_step_rates": True}, {"learned_rates": "step"}),
        (MAML, {"first_order": True}, FIRST),
        (FOMAML, {}, FIRST),
        (MetaSGD, {}, {"learned_rates": "element", "rate": 1.0}),
    ],
    ids=["maml", "maml, recomputed", "maml, a rate a step", "maml of first order", "fomaml", "meta-sgd"],
)
def test_they_leave_the_same_gradients(
    of_images: type[Any], settings: dict[str, bool], of_core: dict[str, Any], initialization: str
) -> None:
    learner, images = image_learner(of_images(steps=STEPS, initialization=initialization, **settings)), episodes()
    expected, _ = query_loss(learner, images, N_SHOT, STEPS)
    expected.backward()  # type: ignore[no-untyped-call]
    core, rates = as_core(learner, Adaptation(steps=STEPS, adapts="adapted.*", **of_core))
    found = accumulate(core, rates, as_tasks(images))

    torch.testing.assert_close(found, expected.detach(), **EXACT)
    loop, head = learner.all_layers()
    whole = core.module
    for name, parameter in learner.embedding.backbone.named_parameters():
        ours = [gradient_of(whole.get_parameter(f"{place}.{name}")) for place in ("start", "adapted.backbone")]
        torch.testing.assert_close(sum(ours), parameter.grad, **EXACT)
    if initialization == "prototype":
        torch.testing.assert_close(whole.get_parameter("log_scale").grad, head.log_scale.grad, **EXACT)
    for name, rate in loop.rates.items():
        ours = [gradient_of(own[f"adapted.backbone.{name.replace('/', '.')}"]) for own in rates.learned]
        torch.testing.assert_close(torch.stack(ours) if len(ours) > 1 else ours[0], rate.grad, **EXACT)

    # Of the head the methods for images learn a logarithm a step, and another of the bias's part in it and in the unit.
    def of_logarithm(rate: Tensor) -> Tensor:
        return (
            (gradient_of(rate) * rate.detach()).sum()
            if core.adaptation.learned_rates == "element"
            else gradient_of(rate)
        )

    of_weight, of_bias = (
        torch.stack([of_logarithm(own[f"adapted.{name}"]) for own in rates.learned]) for name in ("weight", "bias")
    )
    theirs = gradient_of(loop.log_head_rates)
    torch.testing.assert_close(of_weight + of_bias, theirs if len(of_weight) > 1 else theirs.sum(0, True), **EXACT)
    in_unit = gradient_of(whole.get_parameter("log_bias_rate"))
    torch.testing.assert_close(of_bias.sum() + in_unit, loop.log_bias_rate.grad, **EXACT)


def gradient_of(parameter: Tensor) -> Tensor:
    """Zero where it has none."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@pytest.mark.parametrize("initialization", ["prototype", "zero"])
def test_reptile_goes_the_same_way_back(initialization: Initialization) -> None:
    learner, images = image_learner(Reptile(steps=STEPS, initialization=initialization)), episodes()

    class Given(MoveTowardsAdapted):
        def __init__(self) -> None:
            self._steps = STEPS
            self._data: Any = type("Data", (), {"episodes": type("Shape", (), {"n_way": N_WAY, "n_shot": N_SHOT})})

        def draw(self, count: int, learner: MetaLearner, spent: float) -> Tensor:
            return images

    expected = Given().accumulate(learner, EPISODES, 1.0)
    core, rates = as_core(learner, Adaptation(steps=STEPS, meta_gradient="reptile", adapts="adapted.*"))
    assert plain(rates())[0]["adapted.backbone.1.weight"].item() == pytest.approx(INNER_RATE)
    found = accumulate(core, rates, as_tasks(images))
    torch.testing.assert_close(found, expected.loss, **EXACT)
    for name, parameter in learner.embedding.backbone.named_parameters():
        torch.testing.assert_close(core.module.get_parameter(f"adapted.backbone.{name}").grad, parameter.grad, **EXACT)
