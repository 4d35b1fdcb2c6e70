"""Which piece of the meta-batch to compute at once, and in which precision: measured on this machine before meta-training."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_adapt.learner import MetaLearner

_ROUNDS = 4


@dataclass(frozen=True)
class Tuning:
    """How a meta-batch is computed.

    Attributes:
        piece: episodes that go forward and backward together, and that share batch statistics. On a CPU the activations of a
            piece should fit into the cache; a piece too large costs a factor of two or more.
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
    meta_batch: int,
    piece_loss: Callable[[MetaLearner, int], Tensor],
    piece: int | None = None,
    bf16: bool | None = None,
) -> Tuning:
    """Time forward and backward over pieces of 1, 2, 4, ... episodes in float32 and bfloat16; take the fastest per episode.

    The candidates are timed in turn, round after round, so that a moment at which the machine is busy slows them all.

    Args:
        learner: the model; a copy is timed, so that its running statistics stay as they are.
        device: where it trains.
        meta_batch: episodes in an outer step; every piece divides it.
        piece_loss: (learner, episodes) -> the outer loss of that many episodes.
        piece, bf16: what is decided already.
    """
    if device.type == "cuda":
        # Older GPUs emulate bfloat16, slowly.
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
        return Tuning(piece or meta_batch, in_hardware if bf16 is None else bf16)
    pieces = [piece] if piece else [size for size in (1, 2, 4, 8, 16) if meta_batch % size == 0]
    precisions = (False, True) if bf16 is None else (bf16,)
    seconds = {Tuning(size, precision): float("inf") for size in pieces for precision in precisions}
    if len(seconds) == 1:
        return next(iter(seconds))
    trial = copy.deepcopy(learner)
    for trial_round in range(_ROUNDS + 1):
        for tuning in list(seconds):
            spent = _seconds_per_episode(trial, tuning, device, piece_loss)
            if trial_round:  # the first builds kernels
                seconds[tuning] = min(seconds[tuning], spent)
        if trial_round == 1:
            hopeless = 1.5 * min(seconds.values())
            seconds = {tuning: spent for tuning, spent in seconds.items() if spent <= hopeless}
    return min(seconds, key=seconds.__getitem__)


def _seconds_per_episode(
    learner: MetaLearner, tuning: Tuning, device: torch.device, piece_loss: Callable[[MetaLearner, int], Tensor]
) -> float:
    began = time.perf_counter()
    with tuning.autocast(device):
        loss = piece_loss(learner, tuning.piece)
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
