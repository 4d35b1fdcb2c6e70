"""What the outer loop follows, against finite differences alone: no gradient of the reference is differentiated by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")

import torch
from torch import Tensor

from edge_adapt.meta import Adaptation, Learner, Tasks
from edge_adapt.meta.outer_loop import LearnedRates, accumulate
from tests.meta_problems import Waves, learner_of, one_by_one, plain, squared_error, task_of, tiny_module

Array = NDArray[np.float64]
Batch = tuple[Array, Array]

TASKS = 2
SHAPES = {"0.weight": (3, 1), "0.bias": (3,), "2.weight": (1, 3), "2.bias": (1,)}


def error(parameters: Array, batch: Batch) -> float:
    """The squared error of the tiny module, whose parameters are one vector [10]."""
    points, values = batch
    hidden = np.tanh(points[:, 0, None] * parameters[:3] + parameters[3:6])
    return float(np.mean((hidden @ parameters[6:9] + parameters[9] - values[:, 0]) ** 2))


def numeric_gradient(function: Callable[[Array], float], at: Array, step: float) -> Array:
    """Central differences."""
    units = step * np.eye(len(at))
    return np.array([(function(at + unit) - function(at - unit)) / (2 * step) for unit in units])


def inner_gradients(start: Array, rates: Array, parts: list[Batch]) -> list[Array]:
    """Of each inner step, with the rates of each step and number [S, 10] (0 where nothing is adapted) and the part of each."""
    here, gradients = start, []
    for own, part in zip(rates, parts, strict=True):
        gradients.append(numeric_gradient(lambda at, part=part: error(at, part), here, 1e-5))  # type: ignore[misc]
        here = here - own * gradients[-1]
    return gradients


def end(start: Array, rates: Array, gradients: list[Array]) -> Array:
    """Where the inner loop leads."""
    return start - sum((own * gradient for own, gradient in zip(rates, gradients, strict=True)), np.zeros(10))


def spread(rates: list[dict[str, float | Array]], adapted: set[str], steps: int) -> Array:
    """The rates of each step and number [S, 10]; steps beyond the last reuse it."""
    rows = [
        np.concatenate(
            [
                (np.asarray(own[n]) * np.ones(s)).ravel() if n in adapted else np.zeros(s).ravel()
                for n, s in SHAPES.items()
            ]
        )
        for own in rates
    ]
    return np.array([rows[min(step, len(rows) - 1)] for step in range(steps)]).reshape(steps, 10)


def numbers(tasks: Tasks) -> list[tuple[Batch, Batch]]:
    """Support and query of each task."""
    pairs = [task_of(tasks, index) for index in range(len(tasks))]
    return [tuple((points.numpy(), values.numpy()) for points, values in pair) for pair in pairs]  # type: ignore[misc]


def random_rates(learner: Learner, negative: bool) -> list[dict[str, Tensor]]:
    """Unlike each other, so that one that is taken for another shows; of either sign where they may be."""
    torch.manual_seed(3)
    drawn = [
        {name: 0.05 + 0.3 * torch.rand_like(rate) for name, rate in own.items()} for own in plain(learner.step_rates)
    ]
    if negative:
        drawn = [{name: rate * torch.sign(torch.randn_like(rate)) for name, rate in own.items()} for own in drawn]
    return drawn


METHODS = {
    "maml": Adaptation(steps=1, rate=0.2),
    "maml of three steps": Adaptation(steps=3, rate=0.2),
    "maml, a rate a tensor": Adaptation(steps=2, learned_rates="tensor"),
    "maml, a rate a step": Adaptation(steps=3, learned_rates="step"),
    "meta-sgd": Adaptation(steps=2, rate=0.2, learned_rates="element"),
    "anil": Adaptation(steps=2, learned_rates="step", adapts="2.*"),
    "fomaml": Adaptation(steps=3, rate=0.2, meta_gradient="first-order"),
    "fomaml, a rate a number": Adaptation(steps=2, rate=0.2, learned_rates="element", meta_gradient="first-order"),
    "reptile": Adaptation(steps=3, rate=0.2, meta_gradient="reptile"),
    "reptile of a part": Adaptation(steps=2, rate=0.2, meta_gradient="reptile", adapts="0.*"),
    "joint training": Adaptation(steps=0),
}


@pytest.mark.parametrize("arranged", ["together", "one by one"])
@pytest.mark.parametrize("adaptation", METHODS.values(), ids=list(METHODS))
def test_it_is_that_of_finite_differences(adaptation: Adaptation, arranged: str) -> None:
    learner = learner_of(adaptation)
    kind, steps = adaptation.learned_rates, adaptation.steps
    rates = random_rates(learner, negative=kind == "element")
    learned = LearnedRates(rates, adaptation)
    tasks = Waves().draw(TASKS, torch.Generator().manual_seed(1))
    value = accumulate(learner, learned, tasks if arranged == "together" else one_by_one(tasks))

    adapted, pairs = {name for name in SHAPES if name.startswith(adaptation.adapts.rstrip("*"))}, numbers(tasks)
    assert len(rates) == (steps if kind == "step" else 1) and all(set(own) == adapted for own in rates)
    start = np.concatenate([parameter.detach().numpy().ravel() for parameter in learner.module.parameters()])
    flat = np.concatenate([rate.numpy().ravel() for own in rates for rate in own.values()])

    def spread_of(flat: Array) -> Array:
        rest = flat
        by_name: list[dict[str, float | Array]] = []
        for own in rates:
            by_name.append({})
            for name, rate in own.items():
                by_name[-1][name], rest = rest[: rate.numel()].reshape(rate.shape), rest[rate.numel() :]
        return spread(by_name, adapted, steps)

    def query_loss(start: Array, rates: Array, known: list[list[Array]] | None = None) -> float:
        """After the inner loop; with inner gradients that are known already, if they are."""
        total = 0.0
        for index, (support, query) in enumerate(pairs):
            gradients = known[index] if known else inner_gradients(start, rates, [support] * steps)
            total += error(end(start, rates, gradients), query) / TASKS
        return total

    own = spread_of(flat)
    first = [inner_gradients(start, own, [support] * steps) for support, _ in pairs]
    if adaptation.meta_gradient == "reptile":
        turns = [inner_gradients(start, own, [pair[step % 2] for step in range(steps)]) for pair in pairs]
        expected = start - np.mean([end(start, own, gradients) for gradients in turns], axis=0)
        before = [end(start, own[:-1], gradients[:-1]) for gradients in turns]
        loss = np.mean([error(at, pair[(steps - 1) % 2]) for at, pair in zip(before, pairs, strict=True)])
    else:
        known = first if adaptation.meta_gradient == "first-order" else None
        expected = numeric_gradient(lambda at: query_loss(at, own, known), start, 1e-4)
        loss = np.float64(query_loss(start, own))
    found = [
        (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).numpy().ravel()
        for parameter in learner.module.parameters()
    ]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-6)
    assert value.item() == pytest.approx(loss, rel=1e-6)
    if kind is None:
        assert not learned.parameters
        return

    # Positive rates are learned by their logarithm, others in units of where they start.
    def of_raw(raw: Array) -> float:
        return query_loss(start, spread_of(adaptation.rate * raw if kind == "element" else np.exp(raw)), known)

    raw = flat / adaptation.rate if kind == "element" else np.log(flat)
    expected = numeric_gradient(of_raw, raw, 1e-4)
    assert np.abs(expected).max() > 1e-3
    found = [np.zeros(1) if rate.grad is None else rate.grad.numpy().ravel() for rate in learned.parameters]
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=1e-4, atol=1e-6)


def test_steps_beyond_those_trained_reuse_the_last_rates() -> None:
    learner = learner_of(Adaptation(steps=2, learned_rates="step"))
    learner = replace(learner, rates=random_rates(learner, negative=False))
    tasks = Waves().draw(1, torch.Generator().manual_seed(1))
    adapted = learner.adapt(task_of(tasks, 0)[0], steps=4)
    ((support, _),) = numbers(tasks)
    start = np.concatenate([parameter.detach().numpy().ravel() for parameter in learner.module.parameters()])
    own = spread([{n: r.numpy() for n, r in rates.items()} for rates in plain(learner.step_rates)], set(SHAPES), 4)
    expected = end(start, own, inner_gradients(start, own, [support] * 4))
    found = np.concatenate([parameter.detach().numpy().ravel() for parameter in adapted.parameters()])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("first_order", [False, True])
def test_maml_is_that_of_higher(first_order: bool) -> None:
    higher = pytest.importorskip("higher")
    adaptation = Adaptation(steps=3, rate=0.1, meta_gradient="first-order" if first_order else "second-order")
    learner = learner_of(adaptation)
    tasks = Waves().draw(3, torch.Generator().manual_seed(2))
    accumulate(learner, LearnedRates(learner.step_rates, adaptation), tasks)
    module = tiny_module()
    inner = torch.optim.SGD(module.parameters(), lr=0.1)
    for support, query in (task_of(tasks, index) for index in range(3)):
        with higher.innerloop_ctx(module, inner, copy_initial_weights=False, track_higher_grads=True) as (fast, steps):
            for _ in range(3):
                if first_order:
                    steps.step(squared_error(fast, support), grad_callback=lambda all_: [g.detach() for g in all_])
                else:
                    steps.step(squared_error(fast, support))
            (squared_error(fast, query) / 3).backward()  # type: ignore[no-untyped-call]
    for ours, theirs in zip(learner.module.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-10)
