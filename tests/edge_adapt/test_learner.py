"""The inner loop on all layers (MAML, FOMAML) against gradient descent written by hand and against finite differences."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.backbones import Conv4
from edge_adapt.gradient_head import GradientHead, Initialization
from edge_adapt.learner import Embedding, MetaLearner
from edge_adapt.outer_loop import Method, query_loss
from tests import reference

LABELS, QUERY_LABELS = torch.tensor([0, 1, 2, 2]), torch.tensor([2, 0, 1, 1, 0])
both_heads = pytest.mark.parametrize("initialization", ["prototype", "zero"])


def smooth_learner(initialization: Initialization) -> MetaLearner:
    """A float64 learner without kinks, so that finite differences hold: 2x2 images, 3 features, rates all different."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 2, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(18, 3), nn.Tanh())
    learner = MetaLearner(
        Embedding(backbone, torch.zeros(1), torch.ones(1)), GradientHead(initialization, 2), True
    ).double()
    with torch.no_grad():
        for rate, name in zip((0.2, 0.3, 0.4, 0.5), dict(backbone.named_parameters()), strict=True):
            learner.log_backbone_rates[name.replace(".", "/")].fill_(math.log(rate))
        learner.head.log_rates.copy_(torch.tensor([0.5, 0.9], dtype=torch.float64).log())
        learner.head.log_bias_rate.fill_(math.log(0.7))
        learner.head.log_scale.fill_(math.log(0.1))
    return learner


def smooth_images() -> tuple[Tensor, Tensor]:
    """Normalized support and query images, float64 [4, 1, 2, 2] and [5, 1, 2, 2]."""
    generator = torch.Generator().manual_seed(3)
    return tuple(torch.randn(count, 1, 2, 2, generator=generator, dtype=torch.float64) for count in (4, 5))  # type: ignore[return-value]


def learned(learner: MetaLearner) -> list[nn.Parameter]:
    """What the outer loop learns."""
    return [parameter for parameter in learner.parameters() if parameter.requires_grad]


def outer_loss(learner: MetaLearner, steps: int, first_order: bool = False) -> Tensor:
    """The query loss of one episode of `smooth_images`."""
    support, query = smooth_images()
    state, _ = learner.adapt_all_layers(support, LABELS, 3, steps, first_order)
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
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_second_order_outer_gradient_is_that_of_finite_differences(
    initialization: Initialization, steps: int
) -> None:
    learner = smooth_learner(initialization)
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
    learner = smooth_learner("zero")
    parameters = dict(learner.embedding.backbone.named_parameters())
    found = torch.autograd.grad(outer_loss(learner, steps, first_order=True), list(parameters.values()))
    support, query = smooth_images()
    state, _ = learner.adapt_all_layers(support, LABELS, 3, steps)
    adapted = {name: tensor.detach().requires_grad_() for name, tensor in state.items()}
    loss = functional.cross_entropy(learner.predict_all_layers(query, adapted), QUERY_LABELS)
    expected = torch.autograd.grad(loss, [adapted[f"backbone.{name}"] for name in parameters])
    torch.testing.assert_close(found, expected)
    second_order = torch.autograd.grad(outer_loss(learner, steps), list(parameters.values()))
    assert any(not torch.allclose(a, b, rtol=1e-2) for a, b in zip(found, second_order, strict=True))


def test_the_first_order_rates_are_learned_from_constant_inner_gradients() -> None:
    learner = smooth_learner("zero")
    name = "3.weight"
    log_rate = learner.log_backbone_rates[name.replace(".", "/")]
    (found,) = torch.autograd.grad(outer_loss(learner, 1, first_order=True), log_rate)
    support, query = smooth_images()
    # From zero, the first step leaves the backbone where it is: nothing flows through a head of zeros.
    assert found.item() == 0
    learner = smooth_learner("prototype")
    log_rate = learner.log_backbone_rates[name.replace(".", "/")]
    (found,) = torch.autograd.grad(outer_loss(learner, 1, first_order=True), log_rate)
    before, _ = learner.adapt_all_layers(support, LABELS, 3, 0)
    after, _ = learner.adapt_all_layers(support, LABELS, 3, 1)
    after = {key: tensor.detach().requires_grad_() for key, tensor in after.items()}
    loss = functional.cross_entropy(learner.predict_all_layers(query, after), QUERY_LABELS)
    (outer,) = torch.autograd.grad(loss, after[f"backbone.{name}"])
    step = after[f"backbone.{name}"] - before[f"backbone.{name}"]  # -rate * gradient
    assert found.item() == pytest.approx((outer * step).sum().item(), rel=1e-9)


def conv4_learner(initialization: Initialization, normalization: str = "group") -> MetaLearner:
    """A narrow conv4 for 16x16 gray images."""
    torch.manual_seed(1)
    backbone = Conv4(1, normalization, width=8)  # type: ignore[arg-type]
    return MetaLearner(
        Embedding(backbone, torch.tensor([0.5]), torch.tensor([0.3])), GradientHead(initialization, 2), True
    )


def episodes(count: int = 3) -> Tensor:
    """uint8 [count, 4, 2 + 3, 16, 16, 1]."""
    shape = (count, 4, 5, 16, 16, 1)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@both_heads
@pytest.mark.parametrize("first_order", [False, True])
def test_episodes_in_a_loop_are_episodes_under_vmap(initialization: Initialization, first_order: bool) -> None:
    learner = conv4_learner(initialization)
    images = episodes()
    parameters = learned(learner)
    loss, _ = query_loss(learner, "fomaml" if first_order else "maml", images, 2, 2)  # a loop on the CPU
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)

    labels, query_labels = torch.arange(4).repeat_interleave(2), torch.arange(4).repeat_interleave(3)

    def one(support: Tensor, query: Tensor) -> Tensor:
        state, _ = learner.adapt_all_layers(support, labels, 4, 2, first_order)
        return learner.predict_all_layers(query, state)

    normalized = learner.embedding.normalize(images.flatten(0, 2)).view(3, 4, 5, 1, 16, 16)
    logits = torch.vmap(one)(normalized[:, :, :2].flatten(1, 2), normalized[:, :, 2:].flatten(1, 2))
    expected = functional.cross_entropy(logits.flatten(0, 1), query_labels.repeat(3))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    of_vmap = torch.autograd.grad(expected, parameters, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(gradients, of_vmap, rtol=1e-3, atol=1e-5)


@both_heads
@pytest.mark.parametrize("method", ["anil", "maml", "fomaml"])
def test_the_outer_loss_is_the_mean_over_episodes_taken_apart(initialization: Initialization, method: Method) -> None:
    learner = conv4_learner(initialization)
    images = episodes()
    loss, accuracy = query_loss(learner, method, images, 2, 3)
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
def test_autocast_leaves_the_head_in_float32(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = conv4_learner("prototype")
    seen = []
    predict = learner.head.predict

    def spy(features: Tensor, state: dict[str, Tensor]) -> Tensor:
        logits = predict(features, state)
        seen.append((torch.is_autocast_enabled("cpu"), logits.dtype))
        return logits

    monkeypatch.setattr(learner.head, "predict", spy)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = query_loss(learner, method, episodes(), 2, 1)
    loss.backward()  # type: ignore[no-untyped-call]
    assert set(seen) == {(False, torch.float32)}


def test_conv4_is_four_blocks_of_convolution_normalization_relu_and_pooling() -> None:
    torch.manual_seed(0)
    backbone = Conv4(3)
    images = torch.randn(5, 3, 28, 28)
    for normalization in backbone.normalizations:
        nn.init.normal_(normalization.weight)  # type: ignore[arg-type]
    blocks: list[nn.Module] = []
    for convolution, normalization in zip(backbone.convolutions, backbone.normalizations, strict=True):
        blocks += [convolution, normalization, nn.ReLU(), nn.MaxPool2d(2)]
    expected = nn.Sequential(*blocks, nn.Flatten())
    for mode in (True, False):
        torch.testing.assert_close(backbone.train(mode)(images), expected.train(mode)(images))
    assert backbone(images).shape == (5, 64)
    assert Conv4(1, "group")(torch.zeros(2, 1, 84, 84)).shape == (2, 64 * 25)


def test_rates_of_all_layers_are_parameters_and_only_where_they_are_used(
    tiny_learner: Callable[[bool], MetaLearner],
) -> None:
    assert len(tiny_learner(True).log_backbone_rates) == 12
    assert not tiny_learner(False).log_backbone_rates


@pytest.fixture
def tiny_learner() -> Callable[[bool], MetaLearner]:
    """A conv4 learner with or without rates for all layers."""

    def build(all_layers: bool) -> MetaLearner:
        return MetaLearner(Embedding(Conv4(1), torch.zeros(1), torch.ones(1)), GradientHead(), all_layers)

    return build
