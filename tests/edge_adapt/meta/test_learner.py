"""What a learner promises: the module that it was given stays, a seed repeats, and tasks do not touch each other."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt.meta import Adaptation, Learner, OuterLoop, Tasks, meta_train
from edge_adapt.meta.outer_loop import LearnedRates, accumulate
from tests.meta_problems import Pair, Waves, learner_of, one_by_one, plain, squared_error, task_of

SHORT = OuterLoop(iterations=3, meta_batch=2)


def test_adapting_is_gradient_descent_on_a_copy() -> None:
    learner = learner_of(Adaptation(steps=4, rate=0.1))
    support, _ = task_of(Waves().draw(1, torch.Generator().manual_seed(0)), 0)
    before = [parameter.clone() for parameter in learner.module.parameters()]
    adapted = learner.adapt(support)
    assert all(torch.equal(was, now) for was, now in zip(before, learner.module.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in learner.module.parameters())
    by_hand = replace(learner, module=learner.module).adapt(support, steps=0)
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        squared_error(by_hand, support).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for ours, theirs in zip(adapted.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)
    assert all(parameter.requires_grad for parameter in adapted.parameters())


def test_evaluation_is_adapting_to_each_task_by_itself() -> None:
    learner = learner_of(Adaptation(steps=3, rate=0.1))
    found = learner.evaluate(Waves(), 4, seed=5)
    tasks = Waves().draw(4, torch.Generator().manual_seed(5))
    for index in range(4):
        support, query = task_of(tasks, index)
        expected = [squared_error(learner.adapt(support, steps), query).item() for steps in range(4)]
        assert found[index].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "adaptation",
    [
        Adaptation(steps=2, rate=0.1, learned_rates="element"),
        Adaptation(steps=2, rate=0.1, learned_rates="step", adapts="2.*"),
        Adaptation(steps=2, rate=0.1, meta_gradient="reptile"),
    ],
    ids=["meta-sgd", "anil", "reptile"],
)
def test_meta_training_repeats_goes_on_and_leaves_what_it_was_given(adaptation: Adaptation) -> None:
    learner = learner_of(adaptation)
    before = [parameter.clone() for parameter in learner.module.parameters()]
    torch.manual_seed(4)
    once = meta_train(learner, Waves(), SHORT)
    drawn = torch.rand(1)
    again = meta_train(learner, Waves(), SHORT)
    torch.manual_seed(4)
    assert torch.equal(drawn, torch.rand(1))  # the generator of the rest of the program is left alone
    assert all(torch.equal(was, now) for was, now in zip(before, learner.module.parameters(), strict=True))
    assert once.losses == again.losses and len(once.losses) == 3
    for one, other in zip(once.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(one, other)
    further = meta_train(once, Waves(), SHORT)
    assert len(further.losses) == 6
    if adaptation.learned_rates:
        for name, rate in plain(once.rates)[0].items():
            assert rate.allclose(torch.tensor(0.1, dtype=rate.dtype), atol=0.01) and not rate.eq(0.1).all()
            assert not rate.equal(plain(further.rates)[0][name])
        frozen = replace(once, adaptation=replace(adaptation, learned_rates=None))
        assert meta_train(frozen, Waves(), SHORT).rates is once.rates
    else:
        assert once.rates is None


def test_the_outer_loop_is_adam_on_bounded_gradients_at_a_rate_that_falls_as_a_cosine() -> None:
    adaptation = Adaptation(steps=1, rate=0.1, learned_rates="element")
    found = meta_train(learner_of(adaptation), Waves(), OuterLoop(4, 2, learning_rate=0.1, max_norm=0.02, seed=3))
    learner, generator = learner_of(adaptation), torch.Generator().manual_seed(3)
    rates = LearnedRates(learner.step_rates, adaptation)
    parameters = [*learner.module.parameters(), *rates.parameters]
    optimizer = torch.optim.Adam(parameters)
    for share in (1.0, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2):
        optimizer.zero_grad()
        accumulate(learner, rates, Waves().draw(2, generator))
        norm = sum(parameter.grad.square().sum() for parameter in parameters if parameter.grad is not None) ** 0.5
        assert norm > 0.02
        for parameter in parameters:
            assert parameter.grad is not None
            parameter.grad *= 0.02 / norm
        optimizer.param_groups[0]["lr"] = 0.1 * share
        optimizer.step()
    for ours, theirs in zip(found.module.parameters(), learner.module.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-8)
    for name, rate in plain(found.rates)[0].items():
        torch.testing.assert_close(rate, plain(rates())[0][name].detach(), rtol=1e-5, atol=1e-8)


def test_learning_together_is_learning_one_by_one() -> None:
    class Apart(Waves):
        def draw(self, count: int, generator: torch.Generator) -> Tasks:
            return one_by_one(super().draw(count, generator))

    learner = learner_of(Adaptation(steps=2, rate=0.1, learned_rates="tensor"))
    together, apart = meta_train(learner, Waves(), SHORT), meta_train(learner, Apart(), SHORT)
    assert together.losses == pytest.approx(apart.losses, rel=1e-10)
    for one, other in zip(together.module.parameters(), apart.module.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)
    assert together.evaluate(Waves(), 3).tolist() == [pytest.approx(row) for row in apart.evaluate(Apart(), 3).tolist()]


def test_what_is_meta_learned_adapts_better() -> None:
    budget = OuterLoop(iterations=100, meta_batch=8, learning_rate=0.05)
    learned = meta_train(learner_of(Adaptation(steps=1, rate=0.3, learned_rates="tensor")), Waves(10), budget)
    joint = meta_train(learner_of(Adaptation(steps=0)), Waves(10), budget)
    tuned = replace(joint, adaptation=Adaptation(steps=1, rate=0.3))
    assert learned.evaluate(Waves(10), 50)[:, 1].mean() < 0.5 * tuned.evaluate(Waves(10), 50)[:, 1].mean()


def test_a_function_is_asked_anew_at_every_step_of_the_module_as_it_is() -> None:
    """As rollouts are: what it gives is data, through which no gradient flows."""
    learner = learner_of(Adaptation(steps=2, rate=0.1))
    seen: list[Tensor] = []

    def collect(module: nn.Module) -> Pair:
        points = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
        seen.append(module(points))
        return points, seen[-1] + 1

    adapted = learner.adapt(collect)
    first, *steps = seen  # the first is a look at whether the loss can be lowered
    assert torch.equal(first, steps[0]) and not torch.equal(*steps) and len(steps) == 2
    assert not any(values.requires_grad for values in seen)
    support = (torch.linspace(0, 1, 4, dtype=torch.float64)[:, None], steps[0] + 1)
    once = learner.adapt(support, steps=1)
    again = replace(learner, module=once).adapt((support[0], steps[1] + 1), steps=1)
    for one, other in zip(adapted.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_parts_that_are_not_adapted_or_not_learned_stay() -> None:
    learner = learner_of(Adaptation(steps=2, rate=0.1, adapts="2.*"))
    learner.module[2].bias.requires_grad_(False)  # type: ignore[index]
    support, _ = task_of(Waves().draw(1, torch.Generator()), 0)
    learned = meta_train(learner, Waves(), SHORT)
    adapted = learner.adapt(support)
    changed = {
        name: (
            not torch.equal(learned.module.get_parameter(name), was),
            not torch.equal(adapted.get_parameter(name), was),
        )
        for name, was in learner.module.named_parameters()
    }
    assert changed == {
        "0.weight": (True, False),
        "0.bias": (True, False),
        "2.weight": (True, True),
        "2.bias": (False, False),
    }


def test_any_module_and_any_batch() -> None:
    """Random numbers of each task's own, buffers that stay, parameters outside of layers, batches of any structure."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))
            self.body = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
            self.body[1].eval()

    class Structured:
        def draw(self, count: int, generator: torch.Generator) -> Tasks:
            part = {"x": torch.ones(count, 6, 2), "y": [torch.ones(count, 6, 1), torch.ones(count)]}
            return Tasks(part, part)

    def loss(module: Odd, batch: dict[str, Tensor]) -> Tensor:
        error: Tensor = (module.body(batch["x"] * module.scale) - batch["y"][0]).abs().mean() * batch["y"][1]
        return error

    torch.manual_seed(0)
    learned = meta_train(Learner(Odd(), loss, Adaptation(steps=2)), Structured(), OuterLoop(2))  # type: ignore[arg-type]
    values = learned.evaluate(Structured(), 3)
    assert values.shape == (3, 3) and len(set(values[:, 0].tolist())) == 3  # dropout differs from task to task
    assert not torch.equal(learned.module.scale, torch.ones(2))  # type: ignore[arg-type]
