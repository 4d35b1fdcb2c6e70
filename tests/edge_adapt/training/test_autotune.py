"""The choice of micro-batch and precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edge_adapt.methods.objective import StepMetrics, backpropagate
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.training import autotune
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig

CPU = torch.device("cpu")


def learner_with_batch_norm() -> MetaLearner:
    backbone = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    return MetaLearner(Embedding(backbone, torch.zeros(1), torch.ones(1)), GradientHead())


class Noise:
    """An objective over random pixels, with outer steps of any size."""

    micro_batches: tuple[int, ...] = (1, 2, 4, 8, 16)

    def __init__(self, units: int) -> None:
        self.units = units

    def prepare(self, learner: MetaLearner) -> None: ...

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        images = torch.randint(0, 256, (count * 3, 2, 2, 1), dtype=torch.uint8)
        return backpropagate(learner.embed(images).square().sum(), torch.zeros(()), share)

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(learner.parameters(), lr=learning_rate)

    def state_dict(self) -> Mapping[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert not state


@pytest.mark.parametrize(
    ("seconds", "meta_batch", "chosen"),
    [
        ({(1, False): 5, (2, False): 4, (4, False): 3, (8, False): 2, (1, True): 9, (2, True): 11}, 8, (8, False)),
        ({(1, False): 2, (2, False): 3, (4, False): 1, (1, True): 9, (2, True): 12}, 4, (4, False)),
        ({(1, False): 2, (2, False): 3, (1, True): 1, (2, True): 0.5}, 2, (2, True)),
        ({(1, False): 2, (2, False): 1.5, (1, True): 3, (2, True): 4}, 6, (2, False)),
        ({(1, False): 2, (1, True): 3}, 7, (1, False)),
    ],
)
def test_the_fastest_piece_that_divides_the_meta_batch_is_chosen(
    seconds: dict[tuple[int, bool], float], meta_batch: int, chosen: tuple[int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def scripted(learner: MetaLearner, execution: Execution, *_: object) -> float:
        assert meta_batch % execution.micro_batch == 0
        return seconds.get((execution.micro_batch, execution.bf16), 99)

    monkeypatch.setattr(autotune, "_seconds_per_unit", scripted)
    assert autotune.choose(learner_with_batch_norm(), CPU, Noise(meta_batch)) == Execution(*chosen)


def test_a_moment_of_load_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Execution] = []

    def loaded_for_a_while(learner: MetaLearner, execution: Execution, *_: object) -> float:
        calls.append(execution)
        busy = 7 <= len(calls) <= 12  # a round and a half of the four candidates, in the middle
        return (1 if execution == Execution(1, True) else 1.2) * (10 if busy else 1)

    monkeypatch.setattr(autotune, "_seconds_per_unit", loaded_for_a_while)
    assert autotune.choose(learner_with_batch_norm(), CPU, Noise(2)) == Execution(1, True)


@pytest.mark.parametrize(
    ("budget", "allowed"),
    [
        ({"minutes": 1}, 6),
        ({"minutes": 0.01}, 1),  # the first trial alone
        ({"iterations": 8}, 0.1 * 8 * 8),  # as the outer steps of eight episodes take
        ({"minutes": 60}, 5 * 2 * 15),  # all of it
    ],
)
def test_measuring_takes_a_tenth_of_the_budget_at_most(
    budget: dict[str, Any], allowed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def a_second_each(learner: MetaLearner, execution: Execution, *_: object) -> float:
        nonlocal now
        now += execution.micro_batch
        return 1.0

    monkeypatch.setattr(autotune, "_seconds_per_unit", a_second_each)
    monkeypatch.setattr("edge_adapt.training.autotune.time.perf_counter", lambda: now)
    limit = autotune.Limit(TrainingConfig.of(**budget))
    candidates = [Execution(size, bf16) for size in (1, 2, 4, 8) for bf16 in (False, True)]
    tried = autotune.seconds_per_step(learner_with_batch_norm(), candidates, Noise(8), 1, limit)
    assert 0 < now <= allowed and tried.keys() <= set(candidates)
    assert (allowed < 60) == (now < 5 * 2 * 15)


def test_what_is_decided_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: set[Execution] = set()

    def recorded(learner: MetaLearner, execution: Execution, *_: object) -> float:
        tried.add(execution)
        return 1.0

    monkeypatch.setattr(autotune, "_seconds_per_unit", recorded)
    assert autotune.choose(learner_with_batch_norm(), CPU, Noise(4), micro_batch=2, bf16=True) == Execution(2, True)
    assert not tried
    autotune.choose(learner_with_batch_norm(), CPU, Noise(4), micro_batch=2)
    assert tried == {Execution(2, False), Execution(2, True)}
    tried.clear()
    autotune.choose(learner_with_batch_norm(), CPU, Noise(4), bf16=False)
    assert tried == {Execution(1, False), Execution(2, False), Execution(4, False)}


@pytest.mark.parametrize(
    ("largest", "chosen"), [(8, {1, 2, 4, 8}), (2, {1, 2}), (1, {1})], ids=["all", "some", "the smallest"]
)
def test_a_piece_that_memory_does_not_suffice_for_is_out(
    largest: int, chosen: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = Noise(8)
    accumulate = objective.accumulate

    def scarce(learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        if count > largest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")
        return accumulate(learner, count, share)

    monkeypatch.setattr(objective, "accumulate", scarce)
    assert autotune.choose(learner_with_batch_norm(), CPU, objective).micro_batch in chosen


def test_where_memory_suffices_for_none_the_outer_step_gets_a_smaller_one_to_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(autotune, "_seconds_per_unit", lambda *_: None)
    assert autotune.choose(learner_with_batch_norm(), CPU, Noise(8), micro_batch=4).micro_batch == 2
    assert autotune.choose(learner_with_batch_norm(), CPU, Noise(8)).micro_batch == 1


def test_the_process_with_the_most_pieces_decides_what_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {1: 1.2, 2: 1.0, 4: 0.9}
    monkeypatch.setattr(autotune, "_seconds_per_unit", lambda learner, execution, *_: seconds[execution.micro_batch])

    def chosen(units: int, processes: int) -> int:
        return autotune.choose(
            learner_with_batch_norm(), CPU, Noise(units), bf16=False, processes=processes
        ).micro_batch

    assert (chosen(4, 1), chosen(4, 2), chosen(4, 4)) == (4, 2, 1)
    assert (chosen(6, 1), chosen(6, 2)) == (
        2,
        1,
    )  # three micro-batches of two would leave one process with four of the six


@given(st.integers(1, 500), st.integers(1, 40), st.data())
def test_pieces_divide_an_outer_step_and_leave_one_to_each_process(
    units: int, processes: int, data: st.DataObject
) -> None:
    divisors = [size for size in range(1, units + 1) if units % size == 0]
    fitting = [size for size in divisors if units // size >= min(processes, units)]
    assert autotune.largest_micro_batch(units, processes) == max(fitting)
    micro_batch = data.draw(st.sampled_from(divisors))
    shared = autotune.shared(Execution(micro_batch, True), units, processes)
    assert shared == (Execution(micro_batch, True) if micro_batch in fitting else Execution(max(fitting), True))
    dealt = [len(range(rank, units // micro_batch, processes)) * micro_batch for rank in range(processes)]
    assert sum(dealt) == units and max(dealt) == autotune.busiest(units, micro_batch, processes)
    smaller = autotune.smaller(Execution(micro_batch, False), units)
    assert (
        smaller is None
        if micro_batch == 1
        else smaller is not None and smaller.micro_batch in divisors and smaller.micro_batch <= micro_batch / 2
    )


def test_tuning_leaves_no_trace_on_the_learner() -> None:
    learner = learner_with_batch_norm()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    chosen = autotune.choose(learner, CPU, Noise(4))
    assert chosen.micro_batch in (1, 2, 4)
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_autocast_is_on_for_bf16_alone() -> None:
    matrix = torch.ones(2, 2)
    for bf16, expected in ((True, torch.bfloat16), (False, torch.float32)):
        with Execution(1, bf16).applied(learner_with_batch_norm()):
            assert (matrix @ matrix).dtype == expected
    assert (matrix @ matrix).dtype == torch.float32


def test_a_gpu_takes_the_whole_meta_batch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16 in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, bf16=bf16: bf16)
        assert autotune.choose(learner_with_batch_norm(), torch.device("cuda"), Noise(32)) == Execution(32, bf16)
