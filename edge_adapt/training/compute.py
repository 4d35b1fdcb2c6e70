"""Where to train, how much of the meta-batch to compute at once, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from edge_adapt.networks.backbones import fuse
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError

Device = Literal["auto", "cpu", "cuda"]


def choose_device(device: Device) -> torch.device:
    """The training device; `auto` takes CUDA where it works.

    Raises:
        EdgeAdaptError: `cuda` was asked for and PyTorch has none.
    """
    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        why = (
            "this PyTorch is a CPU build"
            if torch.version.cuda is None
            else "PyTorch finds no working NVIDIA driver and GPU"
        )
        raise EdgeAdaptError(f"CUDA does not come up: {why}; take cpu, or install a CUDA build of PyTorch.")
    return torch.device("cuda" if available and device != "cpu" else "cpu")


def name_of(device: torch.device) -> str:
    """What a checkpoint calls a device: `cpu`, or the name of the GPU, such as NVIDIA GeForce RTX 4090."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@dataclass(frozen=True)
class Compute:
    """What a user decides of how a training is computed; none of it changes what is learned but for rounding.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        micro_batch: episodes (or images, of a method of images) that are computed together; None takes what a run that is resumed
            on the same device had, all on a GPU, and on a CPU measures what is fastest.
        bf16: run the backbone under bfloat16 autocast or not; None takes what a run that is resumed on the same device had,
            bfloat16 on a GPU that has it in hardware, and on a CPU measures what is faster.
        threads: of the CPU; None leaves PyTorch's number as it is.
    """

    device: Device = "auto"
    micro_batch: int | None = None
    bf16: bool | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Execution:
    """How a meta-batch is computed.

    Attributes:
        micro_batch: episodes (or images) that go forward and backward together, and that share batch statistics. On a CPU
            the activations of a micro-batch should fit into the cache; a micro-batch too large costs a factor of two or more.
        bf16: whether the backbone runs under bfloat16 autocast.
        fused: whether its blocks are computed as one, in loops that are compiled; see `edge_adapt.training.compiling`.
        device: what all of it was chosen for, as `name_of` says it.
    """

    micro_batch: int
    bf16: bool
    fused: bool = False
    device: str = "cpu"

    def applied(self, learner: MetaLearner) -> torch.autocast:
        """Fuse the blocks of its backbone or not, and give its precision as a context."""
        fuse(learner, self.fused)
        return torch.autocast(learner.embedding.mean.device.type, torch.bfloat16, enabled=self.bf16)
