"""What CUDA refuses, which the code must not do, and which a device that is pretended has to refuse too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

pytestmark = pytest.mark.gpu

SLIPS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a sum of two devices": lambda gpu, cpu: gpu + cpu,
    "a product of two devices": lambda gpu, cpu: gpu[None] @ cpu[:, None],
    "a concatenation of two devices": lambda gpu, cpu: torch.cat([gpu, cpu]),
    "rows of the CPU by numbers of the GPU": lambda gpu, cpu: cpu[gpu.long()],
    "as an array": lambda gpu, cpu: gpu.numpy(),
    "as an array, by NumPy": lambda gpu, cpu: np.asarray(gpu),
    "drawn by a generator of the CPU": lambda gpu, cpu: torch.rand(3, device="cuda", generator=torch.Generator()),
    "drawn in place by a generator of the CPU": lambda gpu, cpu: gpu.uniform_(generator=torch.Generator()),
    "a layer of the CPU": lambda gpu, cpu: nn.Linear(3, 2)(gpu),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_slips_between_devices_raise(slip: Callable[[Tensor, Tensor], object]) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        slip(torch.arange(3.0, device="cuda"), torch.arange(3.0))


def test_what_crosses_on_purpose_arrives() -> None:
    gpu, cpu = torch.arange(3.0, device="cuda"), torch.arange(3.0)
    generator = torch.Generator("cuda").manual_seed(0)
    drawn = torch.rand(3, device="cuda", generator=generator)
    assert gpu.device.type == drawn.device.type == generator.device.type == "cuda"
    assert (gpu * torch.tensor(2.0)).tolist() == [0, 2, 4]  # a number has no device
    assert gpu[torch.tensor([2, 0])].tolist() == [2, 0]
    assert torch.equal(gpu.to("cpu"), cpu) and torch.equal(cpu.to("cuda"), gpu)
    assert torch.empty(3).copy_(gpu).tolist() == [0, 1, 2]
