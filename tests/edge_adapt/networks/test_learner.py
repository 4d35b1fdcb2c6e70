"""The inner loop on all layers (MAML, FOMAML) against gradient descent written by hand and against finite differences."""

from __future__ import annotations

import copy
import math

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.meta.adaptation import Rates
from edge_adapt.methods.objective import multi_step_weights
from edge_adapt.networks.gradient_head import GradientHead, Initialization
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.networks.learner import Embedding, MetaLearner
from tests import reference

LABELS, QUERY_LABELS = torch.tensor([0, 1, 2, 2]), torch.tensor([2, 0, 1, 1, 0])
both_heads = pytest.mark.parametrize("initialization", ["prototype", "zero"])


def smooth_learner(
    initialization: Initialization, first_order: bool = False, kind: Rates = "tensor", recompute: bool = False
) -> MetaLearner:
    """A float64 learner without kinks, so that finite differences hold: 2x2 images, 3 features, rates all different."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 2, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3), nn.Tanh())
    head = GradientHead(initialization)
    inner_loop = InnerLoop(backbone, kind, 2, first_order, recompute)
    learner = MetaLearner(Embedding(backbone, torch.zeros(1), torch.ones(1)), head, inner_loop).double()
    rates = rates_of(learner)
    with torch.no_grad():
        for rate, name in zip((0.2, 0.3, 0.4, 0.5), dict(backbone.named_parameters()), strict=True):
            own = rates[name.replace(".", "/")]
            varied = rate * (
                1 + torch.arange(own.numel(), dtype=torch.float64).view(own.shape) % 5 / 4
            )  # element or step by step
            own.copy_(varied if kind == "element" else varied.log())
        inner_loop.log_head_rates[:2] = torch.tensor([0.5, 0.9], dtype=torch.float64).log()
        inner_loop.log_bias_rate.fill_(math.log(0.7))
        head.log_scale.fill_(math.log(0.1))
    return learner


def rates_of(learner: MetaLearner) -> nn.ParameterDict:
    """The learned rates of the inner loop on all layers."""
    assert learner.inner_loop is not None
    return learner.inner_loop.rates


def smooth_images() -> tuple[Tensor, Tensor]:
    """Normalized support and query images, float64 [4, 1, 2, 2] and [5, 1, 2, 2]."""
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(count, 1, 2, 2, generator=generator, dtype=torch.float64) for count in (4, 5))  # type: ignore[return-value]


def learned(learner: MetaLearner) -> list[nn.Parameter]:
    """What the outer loop learns."""
    return [parameter for parameter in learner.parameters() if parameter.requires_grad]


def outer_loss(learner: MetaLearner, steps: int) -> Tensor:
    """The query loss of one episode of `smooth_images`."""
    support, query = smooth_images()
    state, _ = learner.adapt_all_layers(support, LABELS, 3, steps)
    return functional.cross_entropy(learner.predict_all_layers(query, state), QUERY_LABELS)


@both_heads
@pytest.mark.parametrize("steps", [1, 3])
def test_the_inner_loop_is_gradient_descent_on_every_layer(initialization: Initialization, steps: int) -> None:
    learner = smooth_learner(initialization)
    support, query = smooth_images()
    backbone = learner.embedding.backbone
    assert isinstance(backbone, nn.Sequential)
    features = backbone(support)
    weight, bias = torch.zeros(3, 3).double(), torch.zeros(3).double()
    if initialization == "prototype":
        prototypes = torch.stack([features[label == LABELS].mean(0) for label in range(3)])
        weight, bias = 0.2 * prototypes, -0.1 * prototypes.square().sum(1)
    unit = reference.rate_unit(features.detach().numpy(), LABELS.numpy(), 3, 0.7)
    tensors = [parameter.detach() for parameter in backbone.parameters()] + [weight.detach(), bias.detach()]

    def logits_of(images: Tensor, tensors: list[Tensor]) -> Tensor:
        convolution, convolution_bias, linear, linear_bias, weight, bias = tensors
        hidden = functional.conv2d(images, convolution, convolution_bias, padding=1).tanh().flatten(1)
        return (hidden @ linear.T + linear_bias).tanh() @ weight.T + bias

    losses = []
    for step in range(steps):
        tensors = [tensor.detach().requires_grad_() for tensor in tensors]
        per_image = functional.cross_entropy(logits_of(support, tensors), LABELS, reduction="none")
        loss = (per_image[0] + per_image[1] + (per_image[2] + per_image[3]) / 2) / 3
        gradients = torch.autograd.grad(loss, tensors)
        head_rate = (0.5, 0.9)[min(step, 1)] * unit
        rates = [0.2, 0.3, 0.4, 0.5, head_rate, head_rate * 0.7]
        tensors = [tensor - rate * gradient for tensor, rate, gradient in zip(tensors, rates, gradients, strict=True)]
        losses.append(loss.item())
    state, found = learner.adapt_all_layers(support, LABELS, 3, steps)
    for name, tensor, expected in zip(state, state.values(), tensors, strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-9, atol=1e-10, msg=name)
    assert found.tolist() == pytest.approx(losses, rel=1e-9)
    torch.testing.assert_close(
        learner.predict_all_layers(query, state), logits_of(query, tensors), rtol=1e-9, atol=1e-10
    )


@both_heads
@pytest.mark.parametrize(
    ("steps", "kind"), [(0, "tensor"), (1, "tensor"), (3, "tensor"), (3, "step"), (1, "element"), (3, "element")]
)
def test_the_second_order_outer_gradient_is_that_of_finite_differences(
    initialization: Initialization, steps: int, kind: Rates
) -> None:
    learner = smooth_learner(initialization, kind=kind)
    parameters = learned(learner)
    gradients = torch.autograd.grad(outer_loss(learner, steps), parameters, allow_unused=True, materialize_grads=True)
    generator, epsilon = torch.Generator().manual_seed(0), 1e-5
    for _ in range(6):
        direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        losses = []
        for sign in (1, -1):
            moved = copy.deepcopy(learner)
            with torch.no_grad():
                for parameter, change in zip(learned(moved), direction, strict=True):
                    parameter.add_(change, alpha=sign * epsilon)
                losses.append(outer_loss(moved, steps).item())
        expected = (losses[0] - losses[1]) / (2 * epsilon)
        along = sum((g * change).sum().item() for g, change in zip(gradients, direction, strict=True))
        assert along == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_first_order_outer_gradient_is_the_gradient_at_the_adapted_weights(steps: int) -> None:
    learner = smooth_learner("zero", first_order=True)
    parameters = dict(learner.embedding.backbone.named_parameters())
    found = torch.autograd.grad(outer_loss(learner, steps), list(parameters.values()))
    support, query = smooth_images()
    state, _ = learner.adapt_all_layers(support, LABELS, 3, steps)
    adapted = {name: tensor.detach().requires_grad_() for name, tensor in state.items()}
    loss = functional.cross_entropy(learner.predict_all_layers(query, adapted), QUERY_LABELS)
    expected = torch.autograd.grad(loss, [adapted[f"backbone.{name}"] for name in parameters])
    torch.testing.assert_close(found, expected)
    differentiated = smooth_learner("zero")
    second_order = torch.autograd.grad(
        outer_loss(differentiated, steps), list(differentiated.embedding.backbone.parameters())
    )
    assert any(not torch.allclose(a, b, rtol=1e-2) for a, b in zip(found, second_order, strict=True))


def test_the_first_order_rates_are_learned_from_constant_inner_gradients() -> None:
    learner = smooth_learner("zero", first_order=True)
    name = "3.weight"
    log_rate = rates_of(learner)[name.replace(".", "/")]
    (found,) = torch.autograd.grad(outer_loss(learner, 1), log_rate)
    support, query = smooth_images()
    # From zero, the first step leaves the backbone where it is: nothing flows through a head of zeros.
    assert found.item() == 0
    learner = smooth_learner("prototype", first_order=True)
    log_rate = rates_of(learner)[name.replace(".", "/")]
    (found,) = torch.autograd.grad(outer_loss(learner, 1), log_rate)
    before, _ = learner.adapt_all_layers(support, LABELS, 3, 0)
    after, _ = learner.adapt_all_layers(support, LABELS, 3, 1)
    after = {key: tensor.detach().requires_grad_() for key, tensor in after.items()}
    loss = functional.cross_entropy(learner.predict_all_layers(query, after), QUERY_LABELS)
    (outer,) = torch.autograd.grad(loss, after[f"backbone.{name}"])
    step = after[f"backbone.{name}"] - before[f"backbone.{name}"]  # -rate * gradient
    assert found.item() == pytest.approx((outer * step).sum().item(), rel=1e-9)


@pytest.mark.parametrize("kind", ["step", "element"])
def test_rates_of_each_step_or_number_are_those_steps_and_numbers(kind: Rates) -> None:
    """With all rates of a tensor equal, three kinds of rates are one; with one of them moved, what it belongs to moves."""
    plain, learner = smooth_learner("prototype"), smooth_learner("prototype", kind=kind)
    support, _ = smooth_images()
    name = "3.weight"
    own = rates_of(learner)
    with torch.no_grad():
        for key, rate in rates_of(plain).items():
            own[key].copy_((rate.exp() if kind == "element" else rate).expand_as(own[key]))
    same, _ = learner.adapt_all_layers(support, LABELS, 3, 2)
    torch.testing.assert_close(same, plain.adapt_all_layers(support, LABELS, 3, 2)[0])
    with torch.no_grad():
        own[name.replace(".", "/")].view(-1)[-1] += 1
    first, second = (learner.adapt_all_layers(support, LABELS, 3, steps)[0][f"backbone.{name}"] for steps in (1, 2))
    before, after = (plain.adapt_all_layers(support, LABELS, 3, steps)[0][f"backbone.{name}"] for steps in (1, 2))
    if kind == "step":  # the second step's
        assert torch.equal(first, before) and not torch.allclose(second, after)
    else:  # the last number's
        assert torch.equal(first.flatten()[:-1], before.flatten()[:-1]) and first[-1, -1] != before[-1, -1]


@both_heads
@pytest.mark.parametrize("first_order", [False, True])
def test_steps_computed_again_have_the_same_gradients(initialization: Initialization, first_order: bool) -> None:
    gradients = []
    for recompute in (False, True):
        learner = smooth_learner(initialization, first_order, recompute=recompute)
        loss = outer_loss(learner, 3)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([loss.detach(), *(parameter.grad for parameter in learned(learner))])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)


def test_steps_computed_again_are_not_kept() -> None:
    def kept(recompute: bool, steps: int) -> int:
        """Operations that the backward pass of an outer loss has before it."""
        waiting, seen = [outer_loss(smooth_learner("prototype", recompute=recompute), steps).grad_fn], set()
        while waiting:
            node = waiting.pop()
            if node is not None and node not in seen:
                seen.add(node)
                waiting += [following for following, _ in node.next_functions]
        return len(seen)

    growth = [kept(recompute, 8) - kept(recompute, 4) for recompute in (False, True)]
    assert growth[1] < growth[0] / 4


def test_weights_of_the_multi_step_loss_go_from_equal_to_the_last_alone() -> None:
    assert multi_step_weights(4, 0).tolist() == pytest.approx([0.25] * 4)
    assert multi_step_weights(4, 0.05).tolist() == pytest.approx([0.125] * 3 + [0.625])
    for spent in (0.1, 0.5, 1.0):
        assert multi_step_weights(4, spent).tolist() == [0, 0, 0, 1]


def test_steps_computed_again_are_just_computed_where_nothing_learns(recwarn: pytest.WarningsRecorder) -> None:
    with torch.no_grad():
        outer_loss(smooth_learner("prototype", recompute=True), 2)
    assert not recwarn.list
