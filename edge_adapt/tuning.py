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

_TRIALS = 3


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
    learner: MetaLearner, device: torch.device, meta_batch: int, piece_loss: Callable[[MetaLearner, int], Tensor]
) -> Tuning:
    """Time forward and backward over pieces of 1, 2, 4, ... episodes in float32 and bfloat16; take the fastest per episode.

    Args:
        learner: the model; a copy is timed, so that its running statistics stay as they are.
        device: where it trains.
        meta_batch: episodes in an outer step; every piece divides it.
        piece_loss: (learner, episodes) -> the outer loss of that many episodes.
    """
    if device.type == "cuda":
        return Tuning(meta_batch, torch.cuda.is_bf16_supported())
    trial = copy.deepcopy(learner)
    pieces = [piece for piece in (1, 2, 4, 8, 16) if meta_batch % piece == 0]
    seconds: dict[Tuning, float] = {}
    for bf16 in (False, True):
        best = float("inf")
        for piece in pieces:
            tuning = Tuning(piece, bf16)
            seconds[tuning] = _seconds_per_episode(trial, tuning, device, piece_loss)
            if seconds[tuning] > 1.15 * best:
                break  # past the cache; larger pieces only get slower
            best = min(best, seconds[tuning])
    return min(seconds, key=seconds.__getitem__)


def _seconds_per_episode(
    learner: MetaLearner, tuning: Tuning, device: torch.device, piece_loss: Callable[[MetaLearner, int], Tensor]
) -> float:
    times = []
    for _ in range(_TRIALS + 1):
        began = time.perf_counter()
        with tuning.autocast(device):
            loss = piece_loss(learner, tuning.piece)
        loss.backward()  # type: ignore[no-untyped-call]
        times.append((time.perf_counter() - began) / tuning.piece)
    return min(times[1:])  # the first builds kernels


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
