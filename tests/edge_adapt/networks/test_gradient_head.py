"""The gradient head against autograd, against NumPy and against finite differences, all in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.export.heads.gradient import BIAS_RATE
from edge_adapt.networks.gradient_head import GradientHead, largest_eigenvalue_bound
from edge_adapt.networks.head import HeadState
from edge_adapt.networks.learner import Embedding, MetaLearner
from tests import reference
from tests.gradient_heads import head_of
from tests.support_sets import SupportSet, support_sets

small_sets = support_sets(ways=6, shots=5, size=12, steps=12)


def tensors(support: SupportSet) -> tuple[Tensor, Tensor, Tensor]:
    """Features and query in float64, and labels."""
    features, query = (torch.from_numpy(array).double() for array in (support.features, support.query))
    return features, torch.from_numpy(support.labels), query


def adapt(support: SupportSet) -> tuple[HeadState, Tensor]:
    """What the head makes of a support set."""
    features, labels, _ = tensors(support)
    with torch.no_grad():
        return head_of(support).adapt(features, labels, support.n_way, support.steps)


def stated_loss(weight: Tensor, bias: Tensor, features: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy, averaged within each class and then over the classes."""
    losses = functional.cross_entropy(features @ weight.T + bias, labels, reduction="none")
    return torch.stack([losses[labels == label].mean() for label in range(len(bias))]).mean()


@settings(max_examples=40, deadline=None)
@given(small_sets)
def test_a_step_is_along_the_gradient_of_the_stated_loss(support: SupportSet) -> None:
    """By autograd, on features less their mean, times a function of the eigenvalues of their second moment; two steps."""
    features, labels, _ = tensors(support)
    head = head_of(support)
    shares = torch.stack([1 / (support.n_way * (labels == label).sum().double()) for label in labels])[:, None]
    centred = features - (shares * features).sum(0)
    eigenvalues, vectors = torch.linalg.eigh(centred.T @ (shares * centred))
    norm = torch.linalg.vector_norm(eigenvalues, 4)
    part = eigenvalues / norm
    longer = torch.where(part > 1e-9, (1 - (1 - part) ** 4) / eigenvalues, 4 / norm)  # an eigenvalue may be 0
    along = vectors @ torch.diag(longer) @ vectors.T
    start = [tensor.detach() for tensor in head.initialize(centred, labels, support.n_way).values()]
    before = here = start
    for further in (0, 1 / 4):
        ahead = [(now + further * (now - then)).requires_grad_() for now, then in zip(here, before, strict=True)]
        of_weight, of_bias = torch.autograd.grad(stated_loss(ahead[0], ahead[1], centred, labels), ahead)
        steps = (of_weight @ along, BIAS_RATE * of_bias)
        moved = [
            first + (now.detach() - first - 2 * step) / (1 + support.pull)
            for first, now, step in zip(start, ahead, steps, strict=True)
        ]
        before, here = here, moved
    with torch.no_grad():
        state, losses = head.adapt(features, labels, support.n_way, 2)
    torch.testing.assert_close(state["weight"], here[0], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(state["bias"], here[1] - here[0] @ (shares * features).sum(0), rtol=1e-6, atol=1e-7)
    assert losses[0].item() == pytest.approx(stated_loss(start[0], start[1], centred, labels).item(), rel=1e-8)


@settings(max_examples=25, deadline=None)
@given(support_sets(ways=8, shots=6, size=20, steps=0), st.sampled_from([1e-3, 1.0, 1e4]), st.integers(0, 9))
def test_steps_converge_and_never_diverge(support: SupportSet, unit: float, seed: int) -> None:
    """To the optimum that many more steps find, whatever the features' scale, one of them far off, and the labels at random."""
    random = np.random.default_rng(seed)
    features, labels = support.features.copy(), random.permutation(support.labels)
    features[random.integers(len(features))] *= random.choice([1, 30])
    head = GradientHead("zero")
    with torch.no_grad():
        _, losses = head.adapt(
            torch.from_numpy(features * np.float32(unit)), torch.from_numpy(labels), support.n_way, 300
        )
    assert torch.isfinite(losses).all()
    # Acceleration may rise a little on its way; a step that is too long rises by nats.
    assert losses.max() <= losses[0] + 1e-3
    assert losses[-1] <= losses[:20].min() + 1e-3


@settings(max_examples=60, deadline=None)
@given(support_sets(ways=8, shots=6, size=20, steps=0))
def test_the_bound_is_above_the_largest_eigenvalue_and_close(support: SupportSet) -> None:
    rows = torch.from_numpy(support.features).double()
    largest = torch.linalg.eigvalsh(rows @ rows.T)[-1].item()
    bound = largest_eigenvalue_bound(rows @ rows.T).item()
    assert largest * (1 - 1e-9) <= bound <= largest * min(rows.shape) ** 0.25 * (1 + 1e-9)
    assert largest_eigenvalue_bound(rows.T @ rows).item() == pytest.approx(bound)


def test_images_that_are_all_the_same_change_nothing() -> None:
    features = torch.ones(4, 3)
    state, losses = GradientHead().adapt(features, torch.tensor([0, 0, 1, 1]), 2, 20)
    assert losses.tolist() == pytest.approx([math.log(2)] * 20)
    assert torch.isfinite(state["weight"]).all() and torch.isfinite(state["bias"]).all()


@settings(max_examples=40, deadline=None)
@given(small_sets)
def test_adapting_agrees_with_numpy(support: SupportSet) -> None:
    state, losses = adapt(support)
    weight, bias, expected = reference.adapt(
        support.features,
        support.labels,
        support.n_way,
        support.steps,
        scale=support.scale,
        pull=support.pull,
    )
    np.testing.assert_allclose(state["weight"].numpy(), weight, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(state["bias"].numpy(), bias, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(losses.numpy(), expected, rtol=1e-8)
    assert losses.shape == (support.steps,)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 6), st.booleans(), st.integers(0, 99))
def test_episodes_adapt_together_as_one_by_one(shots: list[int], steps: int, prototype: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(shots)), torch.tensor(shots))
    labels = torch.stack([labels[torch.randperm(len(labels), generator=generator)] for _ in range(6)]).view(2, 3, -1)
    features = torch.randn(2, 3, labels.shape[-1], 9, generator=generator, dtype=torch.float64)
    query = torch.randn(2, 3, 4, 9, generator=generator, dtype=torch.float64)
    head = GradientHead("prototype" if prototype else "zero").double()
    state, losses = head.adapt(features, labels, len(shots), steps)
    logits = head.predict(query, state)
    assert losses.shape == (steps, 2, 3)
    for i, j in np.ndindex(2, 3):
        one, one_losses = head.adapt(features[i, j], labels[i, j], len(shots), steps)
        torch.testing.assert_close(state["weight"][i, j], one["weight"], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(state["bias"][i, j], one["bias"], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(losses[:, i, j], one_losses, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(logits[i, j], head.predict(query[i, j], one), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("initialization", ["prototype", "zero"])
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_the_outer_gradient_is_that_of_finite_differences(initialization: str, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels, query_labels = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([2, 0, 1])
    features = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    query = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    head = GradientHead(initialization).double()  # type: ignore[arg-type]
    names = [name for name, parameter in head.named_parameters() if parameter.requires_grad]
    learned = [getattr(head, name).detach().clone().requires_grad_() for name in names]

    def outer_loss(features: Tensor, query: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip((f"head.{name}" for name in names), values, strict=True))
        logits = torch.func.functional_call(Adapting(head), parameters, (features, labels, query, steps))
        return functional.cross_entropy(logits, query_labels)

    assert torch.autograd.gradcheck(outer_loss, (features, query, *learned))


class Adapting(nn.Module):
    """Adapt and predict as one module, whose parameters are the head's."""

    def __init__(self, head: GradientHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, labels: Tensor, query: Tensor, steps: int) -> Tensor:
        state, _ = self.head.adapt(features, labels, int(labels.max()) + 1, steps)
        return self.head.predict(query, state)


@settings(max_examples=30, deadline=None)
@given(support_sets(ways=6, shots=5, size=12, steps=0))
def test_the_prototype_head_begins_as_the_nearest_prototype(support: SupportSet) -> None:
    features, labels, query = tensors(support)
    head = GradientHead("prototype").double()
    state, _ = head.adapt(features, labels, support.n_way, 0)
    prototypes = torch.stack([features[labels == label].mean(0) for label in range(support.n_way)])
    distances = torch.cdist(query, prototypes).square()
    expected = torch.log_softmax(-head.log_scale.exp() * distances, dim=-1)
    torch.testing.assert_close(torch.log_softmax(head.predict(query, state), dim=-1), expected)


@settings(max_examples=30, deadline=None)
@given(small_sets, st.integers(0, 99))
def test_permuted_classes_give_permuted_weights(support: SupportSet, seed: int) -> None:
    order = torch.randperm(support.n_way, generator=torch.Generator().manual_seed(seed))
    features, labels, _ = tensors(support)
    head = head_of(support)
    state, losses = head.adapt(features, labels, support.n_way, support.steps)
    permuted, permuted_losses = head.adapt(features, order[labels], support.n_way, support.steps)
    torch.testing.assert_close(permuted["weight"][order], state["weight"], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(permuted["bias"][order], state["bias"], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(permuted_losses, losses, rtol=1e-9, atol=1e-10)


def test_a_class_repeated_weighs_no_more() -> None:
    features = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2])
    head = GradientHead("prototype").double()
    state, losses = head.adapt(features, labels, 3, 8)
    repeats = torch.tensor([1, 7, 2])
    again, again_losses = head.adapt(features.repeat_interleave(repeats, 0), labels.repeat_interleave(repeats), 3, 8)
    torch.testing.assert_close(again, state)
    torch.testing.assert_close(again_losses, losses)


@settings(max_examples=20, deadline=None)
@given(small_sets)
def test_the_exported_numbers_are_those_that_adapt_uses(support: SupportSet) -> None:
    parameters = head_of(support).parameters_for_export()
    assert (parameters.scale is None) == (support.scale is None)
    assert parameters.scale is None or math.isclose(parameters.scale, support.scale or 0, rel_tol=1e-12)
    assert math.isclose(parameters.pull, support.pull, rel_tol=1e-12)


def test_the_learner_embeds_normalized_images_and_passes_the_rest_to_the_head() -> None:
    images = torch.randint(0, 256, (4, 2, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.2, 0.5, 0.9]), torch.tensor([0.1, 0.3, 0.2])
    learner = MetaLearner(Embedding(nn.Flatten(), mean, std), GradientHead("prototype"))
    features = learner.embed(images)
    expected = (images.double().numpy() / 255 - mean.numpy()) / std.numpy()
    np.testing.assert_allclose(features, expected.transpose(0, 3, 1, 2).reshape(4, -1), rtol=1e-5, atol=1e-5)
    labels = torch.tensor([0, 1, 1, 0])
    state, losses = learner.adapt(features, labels, 2, 3)
    expected_state, expected_losses = learner.head.adapt(features, labels, 2, 3)
    assert torch.equal(learner.predict(features, state), learner.head.predict(features, expected_state))
    assert torch.equal(losses, expected_losses)
