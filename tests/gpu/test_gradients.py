"""Gradients on a GPU are those on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.objective import Objective, TrainingData
from edge_adapt.networks.inner_loop import InnerLoop
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import drawing_from, untrained
from tests.training_runs import Configure

pytestmark = pytest.mark.gpu

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def whole_float32() -> Iterator[None]:
    """Not rounded to the 10 bits of TF32."""
    switches: tuple[Any, Any] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [switch.allow_tf32 for switch in switches]
    for switch in switches:
        switch.allow_tf32 = False
    yield
    for switch, allowed in zip(switches, before, strict=True):
        switch.allow_tf32 = allowed


class Same(ImageSampler):
    """Draws the same images on every device: generators of two devices do not."""

    def draw_episodes(self, episodes: int, n_way: int, per_class: int, generator: torch.Generator) -> Tensor:
        drawn = super().draw_episodes(episodes, n_way, per_class, generator)
        return self.rows[: drawn.shape[:3].numel()].view(drawn.shape)

    def draw_positions(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.arange(count, device=super().draw_positions(count, generator).device)


def loss_and_gradients(config: TrainingConfig, data: ImageDataset, device: torch.device) -> tuple[float, Tensor]:
    """Of one outer step of a model that is the same on every device, the gradients of all parameters in a row [P]."""
    torch.manual_seed(0)
    learner = untrained(data, config, CPU, None).to(device)
    drawing: TrainingData = drawing_from(Same(data, device), config)
    objective: Objective = config.method.objective(learner, drawing)
    metrics = objective.accumulate(learner, objective.units, share=1.0)
    found = [parameter.grad.cpu().flatten() for parameter in learner.parameters() if parameter.grad is not None]
    return float(metrics.loss), torch.cat(found)


@pytest.mark.parametrize("vmap", [False, True], ids=["in a loop", "under vmap"])
@pytest.mark.parametrize(
    "method", ["anil", "protonet", "matching", "siamese", "memory", "maml", "fomaml", "meta-sgd", "reptile"]
)
def test_gradients_are_those_of_the_cpu(
    method: str,
    vmap: bool,
    training_data: ImageDataset,
    tiny_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 2 if method in ("anil", "maml", "fomaml", "meta-sgd", "reptile") else None
    config = tiny_config(method=method, steps=steps, n_way=3, n_query=2)
    if vmap and not config.method.adapts_all_layers:
        pytest.skip("its inner loop is not on all layers")
    monkeypatch.setattr(InnerLoop, "at_once", lambda self, device: vmap and device.type == "cuda")
    of_cpu, on_cpu = loss_and_gradients(config, training_data, CPU)
    of_gpu, on_gpu = loss_and_gradients(config, training_data, CUDA)
    assert of_gpu == pytest.approx(of_cpu, rel=1e-3)
    assert torch.cosine_similarity(on_gpu, on_cpu, dim=0) > 0.999
