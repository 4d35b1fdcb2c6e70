"""The LSTM in place of inner learning rates: its steps and what the outer loop follows, against NumPy and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch

from edge_adapt.meta import Adaptation, Learner, OuterLoop, meta_train
from edge_adapt.meta.adaptation import MetaGradient
from edge_adapt.meta.lstm_optimizer import HIDDEN, LSTMOptimizer, preprocessed
from edge_adapt.meta.outer_loop import LearnedRates, accumulate
from edge_adapt.runtime.errors import EdgeAdaptError
from tests.edge_adapt.meta.test_meta_gradient import Batch, error, numbers, numeric_gradient
from tests.meta_problems import Waves, learner_of, one_by_one

Array = NDArray[np.float64]

STEPS, TASKS, RATE = 3, 2, 0.2


def learner_with_lstm(meta_gradient: MetaGradient) -> tuple[Learner, LSTMOptimizer]:
    """Whose LSTM is unlike the one that it starts from."""
    learner = learner_of(Adaptation(steps=STEPS, rate=RATE, learned_rates="lstm", meta_gradient=meta_gradient))
    optimizer = learner.step_rates
    assert isinstance(optimizer, LSTMOptimizer)
    torch.manual_seed(5)
    for parameter in optimizer.parameters():
        parameter.copy_(0.5 * torch.randn_like(parameter))
    return replace(learner, rates=optimizer), optimizer


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def of_size_one(x: Array) -> Array:
    large = np.abs(x) >= np.exp(-10)
    magnitude = np.log(np.abs(np.where(large, x, 1))) / 10
    return np.stack([np.where(large, magnitude, -1), np.where(large, np.sign(x), np.exp(10) * x)], -1)


Seen = tuple[Array, Array]
"""The gradient of a step [10], and the loss [1]."""


def descend(start: Array, flat: Array, support: Batch, known: list[Seen] | None = None) -> tuple[Array, list[Seen]]:
    """Where the steps lead, by the paper's formulas, with the LSTM's numbers in one vector; and what each step saw."""
    sizes = [(4 * HIDDEN, 4), (4 * HIDDEN, HIDDEN), (4 * HIDDEN,), (4 * HIDDEN,), (2, HIDDEN + 1), (2,)]
    before_weight, rest = flat[:2], flat[2:]
    parts = []
    for size in sizes:
        parts.append(rest[: int(np.prod(size))].reshape(size))
        rest = rest[int(np.prod(size)) :]
    assert not len(rest)
    of_input, of_hidden, input_bias, hidden_bias, gates, gate_bias = parts
    hidden, cell, before = np.zeros((10, HIDDEN)), np.zeros((10, HIDDEN)), np.zeros((10, 2))
    here, seen = start, []
    for step in range(STEPS):
        slope = numeric_gradient(lambda at: error(at, support), here, 1e-5)
        slope, loss = known[step] if known else (slope, np.array([error(here, support)]))
        seen.append((slope, loss))
        inputs = np.concatenate([of_size_one(slope), of_size_one(np.full(10, loss[0]))], 1)
        raw = inputs @ of_input.T + input_bias + hidden @ of_hidden.T + hidden_bias
        enter, forget, new, leave = np.split(raw, 4, 1)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        before = sigmoid(np.concatenate([hidden, here[:, None]], 1) @ gates.T + gate_bias + before_weight * before)
        here = before[:, 0] * here - before[:, 1] * slope
    return here, seen


@pytest.mark.parametrize("arranged", ["together", "one by one"])
@pytest.mark.parametrize("meta_gradient", ["first-order", "second-order"])
def test_the_meta_gradient_is_that_of_finite_differences(meta_gradient: MetaGradient, arranged: str) -> None:
    learner, optimizer = learner_with_lstm(meta_gradient)
    rates = LearnedRates(optimizer, learner.adaptation)
    tasks = Waves().draw(TASKS, torch.Generator().manual_seed(1))
    value = accumulate(learner, rates, tasks if arranged == "together" else one_by_one(tasks))
    names = [name for name, _ in optimizer.named_parameters()]
    assert names[0] == "from_before" and len(names) == 7
    pairs = numbers(tasks)
    start = np.concatenate([parameter.detach().numpy().ravel() for parameter in learner.module.parameters()])
    flat = np.concatenate([parameter.numpy().ravel() for parameter in optimizer.parameters()])
    known = [descend(start, flat, support)[1] for support, _ in pairs] if meta_gradient == "first-order" else None

    def query_loss(start: Array, flat: Array) -> float:
        ends = [descend(start, flat, s, known[n] if known else None)[0] for n, (s, _) in enumerate(pairs)]
        return float(np.mean([error(at, query) for at, (_, query) in zip(ends, pairs, strict=True)]))

    assert value.item() == pytest.approx(query_loss(start, flat), rel=1e-6)
    found = np.concatenate([p.grad.numpy().ravel() for p in learner.module.parameters() if p.grad is not None])
    expected = numeric_gradient(lambda at: query_loss(at, flat), start, 1e-4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    found = np.concatenate([np.asarray(tensor.grad).ravel() for tensor in rates.parameters])
    some = np.concatenate([np.arange(2), np.arange(2, len(flat), 97), np.arange(len(flat) - 44, len(flat), 3)])

    def at(some_flat: Array) -> float:
        changed = flat.copy()
        changed[some] = some_flat
        return query_loss(start, changed)

    expected = numeric_gradient(at, flat[some], 1e-4)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(found[some], expected, rtol=1e-4, atol=1e-6)


def test_preprocessing_has_the_magnitude_and_the_sign_and_is_finite_everywhere() -> None:
    large, small = float(np.exp(5)), float(np.exp(-12))
    x = torch.tensor([large, -large, 1.0, small, -small, 0.0], requires_grad=True)
    found = preprocessed(x)
    expected = [[0.5, 1], [0.5, -1], [0, 1], [-1, np.exp(-2)], [-1, -np.exp(-2)], [-1, 0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and x.grad.isfinite().all()


def test_before_meta_training_a_step_is_nearly_gradient_descent() -> None:
    task = Waves().draw(1, torch.Generator().manual_seed(1))
    support = task.first_support()
    plain, lstm = (learner_of(Adaptation(steps=1, rate=0.1, learned_rates=kind)) for kind in (None, "lstm"))
    start, one, other = (list(of.parameters()) for of in (plain.module, plain.adapt(support), lstm.adapt(support)))
    for before, expected, found in zip(start, one, other, strict=True):
        torch.testing.assert_close(
            found, expected, rtol=0.02, atol=0.1 * float((expected - before).detach().abs().max())
        )


def test_it_learns_to_learn_and_goes_on() -> None:
    start = learner_of(Adaptation(steps=3, rate=0.1, learned_rates="lstm", meta_gradient="first-order"))
    once = meta_train(start, Waves(), OuterLoop(iterations=60, meta_batch=5, learning_rate=0.01))
    assert start.rates is None and isinstance(once.rates, LSTMOptimizer)
    assert not any(parameter.requires_grad for parameter in once.rates.parameters())
    before, after = (learner.evaluate(Waves(), 50).mean(0)[-1] for learner in (start, once))
    assert after < 0.7 * before
    kept = {name: tensor.clone() for name, tensor in once.rates.state_dict().items()}
    further = meta_train(once, Waves(), OuterLoop(iterations=2, meta_batch=5))
    assert isinstance(further.rates, LSTMOptimizer)
    for name, tensor in kept.items():
        assert torch.equal(once.rates.state_dict()[name], tensor)
        assert not torch.equal(further.rates.state_dict()[name], tensor)
    frozen = replace(once, adaptation=replace(once.adaptation, learned_rates=None))
    assert meta_train(frozen, Waves(), OuterLoop(iterations=2, meta_batch=5)).rates is once.rates


def test_a_rate_that_no_gate_reaches_is_refused() -> None:
    with pytest.raises(
        EdgeAdaptError, match=r"^rate is 1\.0, and the gate of an LSTM is below 1; take a smaller one\.$"
    ):
        Adaptation(rate=1.0, learned_rates="lstm")
