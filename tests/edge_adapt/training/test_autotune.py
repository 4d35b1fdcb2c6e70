"""The choice of piece and precision."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.training import autotune as tuning
from edge_adapt.training.autotune import Tuning

CPU = torch.device("cpu")


def learner_with_batch_norm() -> MetaLearner:
    backbone = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4))
    return MetaLearner(Embedding(backbone, torch.zeros(1), torch.ones(1)), GradientHead())


class Noise:
    """An objective over random pixels, with outer steps of any size."""

    pieces: tuple[int, ...] = (1, 2, 4, 8, 16)

    def __init__(self, units: int) -> None:
        self.units = units

    def prepare(self, learner: MetaLearner) -> None: ...

    def loss(self, learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        images = torch.randint(0, 256, (count * 3, 2, 2, 1), dtype=torch.uint8)
        return learner.embed(images).square().sum(), torch.zeros(())

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
    def scripted(learner: MetaLearner, tuning: Tuning, *_: object) -> float:
        assert meta_batch % tuning.piece == 0
        return seconds.get((tuning.piece, tuning.bf16), 99)

    monkeypatch.setattr(tuning, "_seconds_per_unit", scripted)
    assert tuning.choose(learner_with_batch_norm(), CPU, Noise(meta_batch)) == Tuning(*chosen)


def test_a_moment_of_load_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tuning] = []

    def loaded_for_a_while(learner: MetaLearner, tuning: Tuning, *_: object) -> float:
        calls.append(tuning)
        busy = 7 <= len(calls) <= 12  # a round and a half of the four candidates, in the middle
        return (1 if tuning == Tuning(1, True) else 1.2) * (10 if busy else 1)

    monkeypatch.setattr(tuning, "_seconds_per_unit", loaded_for_a_while)
    assert tuning.choose(learner_with_batch_norm(), CPU, Noise(2)) == Tuning(1, True)


def test_what_is_decided_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: set[Tuning] = set()

    def recorded(learner: MetaLearner, tuning: Tuning, *_: object) -> float:
        tried.add(tuning)
        return 1.0

    monkeypatch.setattr(tuning, "_seconds_per_unit", recorded)
    assert tuning.choose(learner_with_batch_norm(), CPU, Noise(4), piece=2, bf16=True) == Tuning(2, True)
    assert not tried
    tuning.choose(learner_with_batch_norm(), CPU, Noise(4), piece=2)
    assert tried == {Tuning(2, False), Tuning(2, True)}
    tried.clear()
    tuning.choose(learner_with_batch_norm(), CPU, Noise(4), bf16=False)
    assert tried == {Tuning(1, False), Tuning(2, False), Tuning(4, False)}


@pytest.mark.parametrize(
    ("largest", "chosen"), [(8, {1, 2, 4, 8}), (2, {1, 2}), (1, {1})], ids=["all", "some", "the smallest"]
)
def test_a_piece_that_memory_does_not_suffice_for_is_out(
    largest: int, chosen: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    objective = Noise(8)
    loss = objective.loss

    def scarce(learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        if count > largest:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.")
        return loss(learner, count)

    monkeypatch.setattr(objective, "loss", scarce)
    assert tuning.choose(learner_with_batch_norm(), CPU, objective).piece in chosen


@pytest.mark.parametrize(
    "said",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
        "CUDA error: out of memory\nCUDA kernel errors might be reported later.",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "Unable to find a valid cuDNN algorithm to run convolution",
    ],
)
def test_what_pytorch_says_of_memory_is_understood(said: str) -> None:
    assert tuning.is_out_of_memory(RuntimeError(said))
    assert not tuning.is_out_of_memory(ValueError(said))
    assert not tuning.is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_where_memory_suffices_for_none_the_outer_step_gets_a_smaller_one_to_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tuning, "_seconds_per_unit", lambda *_: None)
    assert tuning.choose(learner_with_batch_norm(), CPU, Noise(8), piece=4).piece == 2
    assert tuning.choose(learner_with_batch_norm(), CPU, Noise(8)).piece == 1


def test_the_process_with_the_most_pieces_decides_what_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {1: 1.2, 2: 1.0, 4: 0.9}
    monkeypatch.setattr(tuning, "_seconds_per_unit", lambda learner, tuning, *_: seconds[tuning.piece])

    def chosen(units: int, processes: int) -> int:
        return tuning.choose(learner_with_batch_norm(), CPU, Noise(units), bf16=False, processes=processes).piece

    assert (chosen(4, 1), chosen(4, 2), chosen(4, 4)) == (4, 2, 1)
    assert (chosen(6, 1), chosen(6, 2)) == (2, 1)  # three pieces of two would leave one process with four of the six


@given(st.integers(1, 500), st.integers(1, 40), st.data())
def test_pieces_divide_an_outer_step_and_leave_one_to_each_process(
    units: int, processes: int, data: st.DataObject
) -> None:
    divisors = [size for size in range(1, units + 1) if units % size == 0]
    fitting = [size for size in divisors if units // size >= min(processes, units)]
    assert tuning.largest_piece(units, processes) == max(fitting)
    piece = data.draw(st.sampled_from(divisors))
    shared = tuning.shared(Tuning(piece, True), units, processes)
    assert shared == (Tuning(piece, True) if piece in fitting else Tuning(max(fitting), True))
    dealt = [len(range(rank, units // piece, processes)) * piece for rank in range(processes)]
    assert sum(dealt) == units and max(dealt) == tuning.busiest(units, piece, processes)
    smaller = tuning.smaller(Tuning(piece, False), units)
    assert (
        smaller is None
        if piece == 1
        else smaller is not None and smaller.piece in divisors and smaller.piece <= piece / 2
    )


def test_tuning_leaves_no_trace_on_the_learner() -> None:
    learner = learner_with_batch_norm()
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    chosen = tuning.choose(learner, CPU, Noise(4))
    assert chosen.piece in (1, 2, 4)
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_autocast_is_on_for_bf16_alone() -> None:
    matrix = torch.ones(2, 2)
    for bf16, expected in ((True, torch.bfloat16), (False, torch.float32)):
        with Tuning(1, bf16).applied(CPU):
            assert (matrix @ matrix).dtype == expected
    assert (matrix @ matrix).dtype == torch.float32


def test_a_gpu_takes_the_whole_meta_batch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for bf16 in (False, True):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, bf16=bf16: bf16)
        assert tuning.choose(learner_with_batch_norm(), torch.device("cuda"), Noise(32)) == Tuning(32, bf16)
