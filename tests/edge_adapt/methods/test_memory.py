"""The memory head against plain loops in NumPy, against finite differences, and what it promises."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.methods.memory import MemoryHead
from edge_adapt.networks.head import HeadState
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from tests import memory_heads
from tests.memory_heads import random_head
from tests.support_sets import SupportSet, support_sets
from tests.training_runs import loss_of_images

small_sets = support_sets(ways=6, shots=6, size=12, steps=0)
seeds = st.integers(0, 2**32 - 1)
slot_counts = st.sampled_from([1, 7, 12, 512])
"""Fewer slots than most support sets have images, and more than any."""


def double(*arrays: object) -> list[Tensor]:
    return [torch.from_numpy(array).double() for array in arrays]


def adapted(head: MemoryHead, support: SupportSet) -> tuple[HeadState, Tensor]:
    """What a head makes of a support set, and the logits of its queries."""
    features, query = double(support.features, support.query)
    with torch.no_grad():
        state, losses = head.adapt(features, torch.from_numpy(support.labels), support.n_way, 0)
        assert losses.shape == (0,)
        return state, head.predict(query, state)


@settings(max_examples=60, deadline=None)
@given(small_sets, slot_counts, seeds)
def test_it_agrees_with_plain_loops(support: SupportSet, slots: int, seed: int) -> None:
    head = random_head(support.features.shape[1], seed, slots).double()
    expected = memory_heads.write(support.features, support.labels, support.n_way, head, slots)
    assume(expected.margin > 1e-9)
    state, logits = adapted(head, support)
    np.testing.assert_allclose(state["keys"], expected.keys, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(state["labels"], expected.labels, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(logits, memory_heads.read(support.query, expected, head), rtol=1e-8, atol=1e-8)


def test_the_slots_used_least_are_erased_and_the_rest_is_read() -> None:
    """Three slots for 3 images of one class and 1 of another, at right angles to each other, worked out by hand."""
    features = torch.eye(4, dtype=torch.float64)
    a1, a2, a3, b = features
    head = MemoryHead(4, slots=3).double()
    with torch.no_grad():
        head.controller.weight.copy_(torch.eye(4))
        head.controller.bias.zero_()
        head.alpha.fill_(math.log(3))  # a gate of 3/4
    state, _ = head.adapt(features, torch.tensor([0, 0, 0, 1]), 2, 0)
    # a1 takes the first slot. a2 reads it, and takes the second. In the last round the third slot is blank, and of the others the
    # second was used less: a3 takes the third slot and b the second, and a3 reads the first, the only one left of its class.
    first = a1 / 4 + 3 * a2 / 4 + 3 * a3 / 4
    torch.testing.assert_close(state["keys"], torch.stack([first / first.norm(), b, a3]))
    expected = torch.tensor(
        [[7 / 8, 0], [0, 1], [1 / 8, 0]], dtype=torch.float64
    )  # masses 7/4 and 1/4 of the first class
    torch.testing.assert_close(state["labels"], expected)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=2, max_size=6), seeds)
def test_what_was_written_is_recalled(shots: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = torch.from_numpy(random.permutation(np.repeat(np.arange(len(shots)), shots)))
    features = torch.from_numpy(random.normal(size=(len(labels), 100)))
    head = MemoryHead(100).double()
    with torch.no_grad():
        head.log_strength.fill_(math.log(40))
        state, _ = head.adapt(features, labels, len(shots), 0)
        assert torch.equal(head.predict(features, state).argmax(-1), labels)


@settings(max_examples=40, deadline=None)
@given(small_sets, slot_counts, seeds)
def test_permuted_classes_give_permuted_logits(support: SupportSet, slots: int, seed: int) -> None:
    head = random_head(support.features.shape[1], seed, slots).double()
    order = np.random.default_rng(seed).permutation(support.n_way)
    permuted = SupportSet(support.features, order[support.labels], support.query, support.n_way, 0, None)
    _, logits = adapted(head, support)
    torch.testing.assert_close(adapted(head, permuted)[1][:, order], logits, rtol=1e-8, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(small_sets, seeds)
def test_only_the_order_within_a_class_matters_while_there_are_slots(support: SupportSet, seed: int) -> None:
    head = random_head(support.features.shape[1], seed).double()
    turns = np.random.default_rng(seed).permutation(support.labels)  # whose turn it is
    order = np.empty_like(turns)
    for label in range(support.n_way):
        order[turns == label] = np.flatnonzero(support.labels == label)
    shuffled = SupportSet(support.features[order], support.labels[order], support.query, support.n_way, 0, None)
    torch.testing.assert_close(adapted(head, shuffled)[1], adapted(head, support)[1], rtol=1e-8, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(small_sets, seeds)
def test_no_class_is_forgotten_with_a_slot_for_each(support: SupportSet, seed: int) -> None:
    state, _ = adapted(random_head(support.features.shape[1], seed, slots=1).double(), support)
    assert state["keys"].shape[0] == support.n_way
    torch.testing.assert_close(state["labels"].sum(0), torch.ones(support.n_way, dtype=torch.float64))
    assert state["labels"].count_nonzero(1).tolist() == [1] * support.n_way  # a slot is of one class


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=3, max_size=3), seeds)
def test_a_class_of_many_equal_images_weighs_no_more(repeats: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed % 1000)
    features, query = (torch.randn(count, 5, generator=generator, dtype=torch.float64) for count in (3, 4))
    head, labels, counts = random_head(5, seed).double(), torch.arange(3), torch.tensor(repeats)
    with torch.no_grad():
        once = head.predict(query, head.adapt(features, labels, 3, 0)[0])
        often = head.predict(
            query, head.adapt(features.repeat_interleave(counts, 0), labels.repeat_interleave(counts), 3, 0)[0]
        )
    torch.testing.assert_close(often.log_softmax(-1), once.log_softmax(-1))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=6, max_size=6), st.sampled_from([3, 7, 512]), seeds)
def test_episodes_adapt_together_as_one_by_one(shots: list[int], slots: int, seed: int) -> None:
    """Six episodes of 3 classes, which share out 12 images each in its own way."""
    generator = torch.Generator().manual_seed(seed % 1000)
    rows = [torch.arange(3).repeat_interleave(torch.tensor([few, 5, 7 - few])) for few in shots]
    labels = torch.stack([row[torch.randperm(12, generator=generator)] for row in rows]).view(2, 3, 12)
    features = torch.randn(2, 3, 12, 9, generator=generator, dtype=torch.float64)
    query = torch.randn(2, 3, 4, 9, generator=generator, dtype=torch.float64)
    head = random_head(9, seed, slots).double()
    with torch.no_grad():
        state, losses = head.adapt(features, labels, 3, 0)
        logits = head.predict(query, state)
        assert losses.shape == (0, 2, 3)
        for i, j in np.ndindex(2, 3):
            one, _ = head.adapt(features[i, j], labels[i, j], 3, 0)
            torch.testing.assert_close(state["keys"][i, j], one["keys"], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(state["labels"][i, j], one["labels"], rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(logits[i, j], head.predict(query[i, j], one), rtol=1e-10, atol=1e-12)


def test_logits_stay_finite_however_sharp_the_attention() -> None:
    head = MemoryHead(3)
    with torch.no_grad():
        head.log_strength.fill_(math.log(1e4))
        state, _ = head.adapt(torch.eye(3), torch.arange(3), 3, 0)
        logits = head.predict(-torch.eye(3), state)
    assert logits.isfinite().all()
    assert logits.min().item() == pytest.approx(math.log(np.finfo(np.float32).tiny))


@pytest.mark.parametrize("slots", [3, 4, 512])
def test_the_outer_gradient_is_that_of_finite_differences(slots: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels, query_labels = torch.tensor([0, 1, 2, 2, 1, 2]), torch.tensor([2, 0, 1])
    features = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    query = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    head = random_head(4, 2, slots).double()
    names = [name for name, _ in head.named_parameters()]
    learned = [parameter.detach().clone().requires_grad_() for parameter in head.parameters()]

    def outer_loss(features: Tensor, query: Tensor, *values: Tensor) -> Tensor:
        parameters = dict(zip((f"head.{name}" for name in names), values, strict=True))
        logits = torch.func.functional_call(Adapting(head), parameters, (features, labels, query))
        return functional.cross_entropy(logits, query_labels)

    assert torch.autograd.gradcheck(outer_loss, (features, query, *learned), rtol=1e-4, atol=1e-9)
    if slots == 512:
        gradients = torch.autograd.grad(outer_loss(features, query, *learned), (features, *learned))
        assert all(bool(gradient.any()) for gradient in gradients)


class Adapting(nn.Module):
    """Adapt and predict as one module, whose parameters are the head's."""

    def __init__(self, head: MemoryHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, labels: Tensor, query: Tensor) -> Tensor:
        state, _ = self.head.adapt(features, labels, int(labels.max()) + 1, 0)
        return self.head.predict(query, state)


def test_the_outer_gradient_reaches_the_backbone() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 2, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(18, 5), nn.Tanh())
    learner = MetaLearner(Embedding(backbone, torch.zeros(1), torch.full((1,), 0.5)), random_head(5, 1)).double()
    images = torch.randint(0, 256, (2, 3, 4, 2, 2, 1), dtype=torch.uint8)  # 2 episodes, 3 ways, 2 shots, 2 queries
    learner.embedding.normalize = lambda images: images.double().permute(0, 3, 1, 2) / 255  # type: ignore[method-assign]
    parameters = list(learner.parameters())
    gradients = torch.autograd.grad(loss_of_images(learner, images, 2, 0)[0], parameters)
    for _ in range(4):
        direction = [torch.randn_like(parameter) for parameter in parameters]
        losses = []
        for sign in (1, -1):
            moved = copy.deepcopy(learner)
            with torch.no_grad():
                for parameter, change in zip(moved.parameters(), direction, strict=True):
                    parameter.add_(change, alpha=sign * 1e-5)
            losses.append(loss_of_images(moved, images, 2, 0)[0].item())
        along = sum((gradient * change).sum().item() for gradient, change in zip(gradients, direction, strict=True))
        assert along == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("option", [{"steps": 3}, {"initialization": "zero"}, {"first_order": True}])
def test_it_has_neither_steps_nor_a_start(option: dict[str, object]) -> None:
    (name,) = option
    with pytest.raises(EdgeAdaptError, match=f"^{name} is not for the method memory; leave it out.$"):
        TrainingConfig.of(method="memory", **option)


def test_the_configuration_builds_it() -> None:
    config = TrainingConfig.of(method="memory", grayscale=True)
    learner = build_learner(config, torch.zeros(1), torch.ones(1))
    assert isinstance(learner.head, MemoryHead) and learner.inner_loop is None
    assert config.method.inner_steps == 0
