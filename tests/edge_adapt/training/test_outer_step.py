"""One outer step: what its micro-batches draw, what they make of running statistics, and what a lack of memory leaves behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edge_adapt.methods.objective import StepMetrics, WithoutState, backpropagate
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.learner import Embedding, MetaLearner
from edge_adapt.training.compute import Execution
from edge_adapt.training.outer_step import OuterStep

UNITS = 6


class Drawn(WithoutState):
    """An objective over random images that keeps them; `fails` says, of the number of a call, whether memory suffices."""

    units: int = UNITS
    micro_batches: tuple[int, ...] = (1, 2, 3, 6)

    def __init__(
        self, generator: torch.Generator, fails: Callable[[int], BaseException | None] = lambda call: None
    ) -> None:
        self.drawn: list[Tensor] = []
        self._generator, self._fails, self._calls = generator, fails, 0

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        self._calls += 1
        images = torch.randint(0, 256, (count * 3, 2, 2, 1), dtype=torch.uint8, generator=self._generator)
        self.drawn.append(images)
        features = learner.embed(images)
        error = self._fails(self._calls)
        if error:
            raise error
        return backpropagate(features.square().mean(), torch.tensor(count / UNITS), share)

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(learner.parameters(), lr=learning_rate)


def prepared(seed: int = 0, **options: Any) -> tuple[MetaLearner, Drawn, OuterStep]:
    torch.manual_seed(1)
    backbone = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 4))
    learner = MetaLearner(Embedding(backbone, torch.tensor([0.4]), torch.tensor([0.3])), GradientHead())
    generator = torch.Generator()
    objective = Drawn(generator, **options)
    return learner, objective, OuterStep(learner, objective, objective.optimizer(learner, 0.1), generator, seed)


def gradients(learner: MetaLearner) -> list[Tensor | None]:
    return [parameter.grad for parameter in learner.parameters()]


def test_running_statistics_move_by_the_mean_of_what_the_pieces_make_of_them() -> None:
    learner, objective, step = prepared()
    norm = learner.embedding.backbone[1]  # type: ignore[index]
    for iteration in range(2):
        mean, variance = norm.running_mean.clone(), norm.running_var.clone()
        step.compute(iteration, Execution(2, False), 0.0)
        micro_batches = [learner.embedding.normalize(images).flatten(1) for images in objective.drawn[-3:]]
        of_pieces = (
            torch.stack([micro_batch.mean(0) for micro_batch in micro_batches]),
            torch.stack([micro_batch.var(0) for micro_batch in micro_batches]),
        )
        torch.testing.assert_close(norm.running_mean, 0.9 * mean + 0.1 * of_pieces[0].mean(0))
        torch.testing.assert_close(norm.running_var, 0.9 * variance + 0.1 * of_pieces[1].mean(0))
        assert norm.num_batches_tracked == iteration + 1
    assert torch.equal(learner.embedding.mean, torch.tensor([0.4]))  # to the last bit, however many micro-batches


def test_gradients_and_figures_are_means_over_the_pieces() -> None:
    learner, objective, step = prepared()
    metrics = step.compute(0, Execution(2, False), 0.0)
    found = gradients(learner)
    micro_batches = list(objective.drawn)
    weight = learner.embedding.backbone[3].weight  # type: ignore[index]
    expected, losses = torch.zeros_like(weight), []
    for micro_batch in range(3):
        again, objective, step = prepared()
        step._draw_anew(0, micro_batch)
        loss, _ = objective.accumulate(again, 2, 1.0)
        assert torch.equal(objective.drawn[0], micro_batches[micro_batch])
        losses.append(loss.item())
        expected += again.embedding.backbone[3].weight.grad / 3  # type: ignore[index]
    torch.testing.assert_close(weight.grad, expected)
    assert metrics is not None
    assert [mean.item() for mean in metrics] == pytest.approx([sum(losses) / 3, 1 / 3])
    named = dict(zip((name for name, _ in learner.named_parameters()), found, strict=True))
    assert named["head.log_pull"] is None  # no gradient reaches it, and none is made up


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 10**6))
def test_what_a_piece_draws_follows_from_seed_step_and_number(seed: int, iteration: int) -> None:
    def draws(seed: int, iteration: int) -> list[bytes]:
        _, objective, step = prepared(seed)
        step.compute(iteration, Execution(2, False), 0.0)
        return [images.numpy().tobytes() for images in objective.drawn]

    first = draws(seed, iteration)
    assert first == draws(seed, iteration)
    others = draws(seed, iteration + 1) + draws((seed + 1) % 2**32, iteration)
    assert len({*first, *others}) == 9


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."),
    ],
)
def test_a_lack_of_memory_leaves_no_trace(error: BaseException) -> None:
    learner, _, step = prepared(fails=lambda call: error if call == 2 else None)
    before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
    assert step.compute(0, Execution(2, False), 0.0) is None
    assert gradients(learner) == [None] * len(list(learner.parameters()))
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    undisturbed, _, other = prepared()
    assert step.compute(0, Execution(2, False), 0.0) == other.compute(0, Execution(2, False), 0.0)
    for name, tensor in learner.state_dict().items():
        assert torch.equal(tensor, undisturbed.state_dict()[name]), name


def test_other_faults_pass_through() -> None:
    _, _, step = prepared(fails=lambda call: RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        step.compute(0, Execution(2, False), 0.0)
