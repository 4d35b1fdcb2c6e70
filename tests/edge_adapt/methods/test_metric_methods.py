"""ProtoNet, matching and siamese networks: against NumPy written from the papers, and against finite differences."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch
from torch import nn

from edge_adapt.methods import METHODS
from edge_adapt.methods.matching import MatchingHead
from edge_adapt.networks.head import Head
from edge_adapt.networks.learner import Centring, Embedding, MetaLearner
from tests.metric_heads import HEADS, matching, protonet, siamese
from tests.reference import Array, log_softmax, prototype_start
from tests.support_sets import SupportSet, support_sets
from tests.training_runs import loss_of_images

every_head = pytest.mark.parametrize("name", HEADS)
small_sets = support_sets(ways=6, shots=5, size=12, steps=3)


def logits_of(head: Head, support: SupportSet, labels: NDArray[np.int64] | None = None) -> Array:
    """What a head in float64 makes of a support set; `labels` in place of its own."""
    features, query = (torch.from_numpy(array).double() for array in (support.features, support.query))
    with torch.no_grad():
        given = torch.from_numpy(support.labels if labels is None else labels)
        state, losses = head.double().adapt(features, given, support.n_way, support.steps)
        assert losses.shape == (0,)
        logits: Array = head.predict(query, state).numpy()
    return logits


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("size", [64, 1600])
@pytest.mark.parametrize("method", ["anil", "matching", "protonet", "siamese"])
def test_training_starts_near_chance_whatever_the_number_of_features(method: str, size: int, centred: bool) -> None:
    # Features of chance, 20 ways, 2 shots: logits far apart would make a loss far above that of not knowing.
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 4, size, generator=generator).relu()
    if centred:
        features = torch.nn.functional.normalize(features - features.mean((0, 1)), dim=-1)
    head = METHODS[method]().head(size, centred)
    labels = torch.arange(20).repeat_interleave(2)
    with torch.no_grad():
        state, _ = head.adapt(features[:, :2].flatten(0, 1), labels, 20, 0)
        logits = head.predict(features[:, 2:].flatten(0, 1), state)
    assert torch.nn.functional.cross_entropy(logits, labels) < 1.5 * np.log(20)


# Against NumPy


@settings(max_examples=40, deadline=None)
@given(small_sets)
def test_protonet_is_the_distance_to_the_class_means(support: SupportSet) -> None:
    head = protonet(support.features.shape[1])
    logits = logits_of(head, support)
    weight, bias = prototype_start(support.features.astype(np.float64), support.labels, support.n_way, 0.7)
    prototypes = weight / (2 * 0.7)
    distances = ((support.query[:, None].astype(np.float64) - prototypes) ** 2).sum(axis=2)
    np.testing.assert_allclose(log_softmax(logits), log_softmax(-0.7 * distances), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, support.query @ weight.T + bias, rtol=1e-5, atol=1e-6)


def attention_in_numpy(support: SupportSet, scale: float) -> list[list[Array]]:
    """For each query and class, the attention that each of the class's images gets: equation 1 of the paper, image by image."""
    answers = []
    for query in support.query.astype(np.float64):
        cosines = [
            float(query @ image / np.linalg.norm(query) / np.linalg.norm(image))
            for image in support.features.astype(np.float64)
        ]
        attention = np.exp(scale * np.array(cosines)) / sum(np.exp(scale * cosine) for cosine in cosines)
        answers.append([attention[support.labels == label] for label in range(support.n_way)])
    return answers


@settings(max_examples=40, deadline=None)
@given(small_sets)
def test_matching_is_the_mean_attention_of_a_class(support: SupportSet) -> None:
    answers = attention_in_numpy(support, 9.0)
    expected = np.log([[of_class.mean() for of_class in answer] for answer in answers])
    np.testing.assert_allclose(logits_of(matching(1), support), expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_with_equal_shots_matching_is_the_papers_sum(n_way: int, n_shot: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(n_way, dtype=np.int64), n_shot))
    features, query = (random.normal(size=(count, 7)).astype(np.float32) for count in (len(labels), 5))
    support = SupportSet(features, labels, query, n_way, 0, None)
    sums = np.array([[of_class.sum() for of_class in answer] for answer in attention_in_numpy(support, 9.0)])
    logits = logits_of(matching(1), support)
    np.testing.assert_allclose(np.exp(log_softmax(logits)), sums, rtol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 40.0, 300.0])
def test_attention_that_float32_cannot_hold_stops_at_its_smallest_number(scale: float) -> None:
    random = np.random.default_rng(0)
    support = torch.from_numpy(random.normal(size=(12, 4)).astype(np.float32))
    query = torch.from_numpy(random.normal(size=(50, 4)).astype(np.float32))
    labels = torch.arange(12) % 3
    head = MatchingHead(scale)
    with torch.no_grad():
        state, _ = head.adapt(support, labels, 3, 0)
        logits = head.predict(query, state)
        unit = [nn.functional.normalize(vectors.double(), dim=1) for vectors in (query, support)]
        log_attention = torch.log_softmax(head.log_scale.double().exp() * unit[0] @ unit[1].T, dim=1)
    by_class = torch.stack([log_attention[:, labels == label].logsumexp(1) - np.log(4) for label in range(3)], 1)
    least = np.log(np.finfo(np.float32).tiny)
    torch.testing.assert_close(logits.double(), by_class.clamp(min=least), rtol=1e-4, atol=1e-4)
    assert (bool((logits.double() < least + 1e-3).any())) == (scale > 100)


@settings(max_examples=40, deadline=None)
@given(small_sets)
def test_siamese_is_the_mean_logit_of_the_pairs(support: SupportSet) -> None:
    head = siamese(support.features.shape[1])
    weights = np.exp(np.linspace(-1, 0.7, support.features.shape[1]))
    expected = np.zeros((len(support.query), support.n_way))
    for row, query in enumerate(support.query.astype(np.float64)):
        for label in range(support.n_way):
            images = support.features[support.labels == label]
            pairs = [1.3 - sum(weights * np.abs(query - image)) for image in images.astype(np.float64)]
            expected[row, label] = np.mean(pairs)
    np.testing.assert_allclose(logits_of(head, support), expected, rtol=1e-5, atol=1e-6)


def test_the_siamese_loss_is_the_cross_entropy_of_pairs_both_kinds_alike() -> None:
    random = np.random.default_rng(0)
    features, query = random.normal(size=(3, 4)), random.normal(size=(6, 4))
    labels, query_labels = np.array([2, 0, 1]), np.array([0, 0, 1, 2, 1, 2])
    head = siamese(4).double()
    state, _ = head.adapt(torch.from_numpy(features), torch.from_numpy(labels), 3, 0)
    loss = head.loss(head.predict(torch.from_numpy(query), state), torch.from_numpy(query_labels))
    weights = np.exp(np.linspace(-1, 0.7, 4))
    losses: dict[bool, list[float]] = {True: [], False: []}
    for one, own in zip(query, query_labels, strict=True):
        for other, label in zip(features, labels, strict=True):
            same = 1 / (1 + np.exp(-(1.3 - np.sum(weights * np.abs(one - other)))))
            losses[own == label].append(-np.log(same if own == label else 1 - same))
    assert len(losses[True]) == 6 and len(losses[False]) == 12
    assert loss.item() == pytest.approx((np.mean(losses[True]) + np.mean(losses[False])) / 2, rel=1e-6)


# What holds for each


@every_head
@settings(max_examples=25, deadline=None)
@given(small_sets, st.integers(0, 99))
def test_permuted_classes_give_permuted_logits(name: str, support: SupportSet, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(support.n_way)
    head = HEADS[name](support.features.shape[1])
    permuted = logits_of(head, support, order[support.labels])
    np.testing.assert_allclose(permuted[:, order], logits_of(head, support), rtol=1e-9, atol=1e-10)


@every_head
def test_a_class_whose_images_are_repeated_weighs_no_more(name: str) -> None:
    random = torch.Generator().manual_seed(1)
    features, query = (torch.randn(count, 5, generator=random, dtype=torch.float64) for count in (4, 6))
    labels, repeats = torch.tensor([0, 1, 2, 1]), torch.tensor([1, 7, 20, 7])
    head = HEADS[name](5).double()
    logits, again = (
        head.predict(query, head.adapt(shots, of_shots, 3, 0)[0])
        for shots, of_shots in (
            (features, labels),
            (features.repeat_interleave(repeats, 0), labels.repeat_interleave(repeats)),
        )
    )
    torch.testing.assert_close(torch.log_softmax(again, 1), torch.log_softmax(logits, 1))


@every_head
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 99))
def test_episodes_adapt_together_as_one_by_one(name: str, shots: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(shots)), torch.tensor(shots))
    labels = torch.stack([labels[torch.randperm(len(labels), generator=generator)] for _ in range(6)]).view(2, 3, -1)
    features = torch.randn(2, 3, labels.shape[-1], 9, generator=generator, dtype=torch.float64)
    query = torch.randn(2, 3, 4, 9, generator=generator, dtype=torch.float64)
    head = HEADS[name](9).double()
    state, losses = head.adapt(features, labels, len(shots), 2)
    logits = head.predict(query, state)
    assert losses.shape == (0, 2, 3) and logits.shape == (2, 3, 4, len(shots))
    for i, j in np.ndindex(2, 3):
        one, _ = head.adapt(features[i, j], labels[i, j], len(shots), 2)
        for tensor in one:
            torch.testing.assert_close(state[tensor][i, j], one[tensor], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(logits[i, j], head.predict(query[i, j], one), rtol=1e-10, atol=1e-12)


def smooth_learner(name: str, centred: bool) -> MetaLearner:
    """A float64 learner whose backbone has no kinks, so that finite differences hold."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(1, 2, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(18, 4), nn.Tanh())
    mean, std = torch.tensor([0.5]), torch.tensor([0.3])
    centring = Centring(4) if centred else None
    if centring:
        nn.init.constant_(centring.nuisances, 0.3)  # of zeros the gradient is zero
    return MetaLearner(Embedding(backbone, mean, std, centring), HEADS[name](4)).double()


@every_head
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("n_shot", [1, 3])
def test_the_outer_gradient_is_that_of_finite_differences(name: str, centred: bool, n_shot: int) -> None:
    learner = smooth_learner(name, centred)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (2, 3, n_shot + 2, 2, 2, 1), dtype=torch.uint8, generator=generator)
    parameters = list(learner.parameters())
    gradients = torch.autograd.grad(loss_of_images(learner, images, n_shot, 0)[0], parameters)
    assert all(bool((gradient != 0).any()) for gradient in gradients)
    epsilon = 1e-6
    for _ in range(5):
        direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        losses = []
        for sign in (1, -1):
            moved = copy.deepcopy(learner)
            with torch.no_grad():
                for parameter, change in zip(moved.parameters(), direction, strict=True):
                    parameter.add_(change, alpha=sign * epsilon)
                losses.append(loss_of_images(moved, images, n_shot, 0)[0].item())
        expected = (losses[0] - losses[1]) / (2 * epsilon)
        along = sum((g * change).sum().item() for g, change in zip(gradients, direction, strict=True))
        assert along == pytest.approx(expected, rel=1e-6, abs=1e-9)
