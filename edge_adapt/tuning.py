"""Which piece of the meta-batch to compute at once, and in which precision: measured on this machine before meta-training."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from edge_adapt.learner import MetaLearner

if TYPE_CHECKING:
    from edge_adapt.outer_loop import Objective

_ROUNDS = 4


@dataclass(frozen=True)
class Tuning:
    """How a meta-batch is computed.

    Attributes:
        piece: episodes (of `classify`: images) that go forward and backward together, and that share batch statistics. On a CPU
            the activations of a piece should fit into the cache; a piece too large costs a factor of two or more.
        bf16: whether the backbone runs under bfloat16 autocast.
    """

    piece: int
    bf16: bool

    @contextlib.contextmanager
    def autocast(self, device: torch.device) -> Iterator[None]:
        """The precision of the backbone, as a context."""
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            yield


def choose(
    learner: MetaLearner,
    device: torch.device,
    objective: Objective,
    piece: int | None = None,
    bf16: bool | None = None,
) -> Tuning:
    """Time forward and backward over pieces of several sizes in float32 and bfloat16; take the fastest per episode (or image).

    The candidates are timed in turn, round after round, so that a moment at which the machine is busy slows them all.

    Args:
        learner: the model; a copy is timed, so that its running statistics stay as they are.
        device: where it trains.
        objective: what is to be trained; every piece divides its outer step.
        piece, bf16: what is decided already.
    """
    if device.type == "cuda":
        # Older GPUs emulate bfloat16, slowly.
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
        return Tuning(piece or objective.units, in_hardware if bf16 is None else bf16)
    pieces = (
        [piece] if piece else [size for size in objective.pieces if objective.units % size == 0] or [objective.units]
    )
    precisions = (False, True) if bf16 is None else (bf16,)
    seconds = {Tuning(size, precision): float("inf") for size in pieces for precision in precisions}
    if len(seconds) == 1:
        return next(iter(seconds))
    trial = copy.deepcopy(learner)
    for trial_round in range(_ROUNDS + 1):
        for tuning in list(seconds):
            spent = _seconds_per_unit(trial, tuning, device, objective)
            if trial_round:  # the first builds kernels
                seconds[tuning] = min(seconds[tuning], spent)
        if trial_round == 1:
            hopeless = 1.5 * min(seconds.values())
            seconds = {tuning: spent for tuning, spent in seconds.items() if spent <= hopeless}
    return min(seconds, key=seconds.__getitem__)


def _seconds_per_unit(learner: MetaLearner, tuning: Tuning, device: torch.device, objective: Objective) -> float:
    began = time.perf_counter()
    with tuning.autocast(device):
        loss, _ = objective.loss(learner, tuning.piece)
    loss.backward()  # type: ignore[no-untyped-call]
    return (time.perf_counter() - began) / tuning.piece


def keep_freed_memory() -> None:
    """Let glibc keep the memory that tensors free, instead of returning it to the system after every operation.

    Each large activation is otherwise a fresh mapping whose pages fault in one by one: a third of the training time of a small
    backbone on a CPU. Does nothing on other C libraries.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of <malloc.h>
        mallopt(mmap_threshold, 1 << 30)
        mallopt(trim_threshold, 2**31 - 1)
