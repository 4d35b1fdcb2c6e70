"""What processes on GPUs say to each other travels over NCCL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("torch")

import torch
import torch.distributed as dist

from edge_adapt.training import distributed

pytestmark = [pytest.mark.gpu, pytest.mark.real_gpu]


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One process, told that it is two, so that it sends what it would send to another."""
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group("cpu:gloo,cuda:nccl", store=store, rank=0, world_size=1)
    monkeypatch.setattr(distributed, "processes", lambda: 2)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("group")
def test_tensors_of_a_training_arrive_as_they_were() -> None:
    weights = torch.randn(8, 4, 3, 3, device="cuda").to(memory_format=torch.channels_last)
    tensors = [weights, torch.tensor(3, device="cuda"), torch.randn(5, device="cuda")]
    before = [tensor.clone() for tensor in tensors]
    distributed.copy_from_first(tensors)
    distributed.sum_over_processes(tensors)
    assert all(torch.equal(one, other) for one, other in zip(tensors, before, strict=True))
    assert distributed.of_first(lambda: 7) == 7
