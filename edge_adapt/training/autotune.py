"""Where to train, which piece of the meta-batch to compute at once, and in which precision: on a CPU, measured beforehand."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import math
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch

from edge_adapt.networks.backbones.fused_pooling import fusing
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError

if TYPE_CHECKING:
    from edge_adapt.methods.objective import Objective

_ROUNDS = 4

_TOO_LITTLE_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "could not create a primitive",  # of oneDNN, which has no room for its code
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: out of memory",
    "Unable to find a valid cuDNN algorithm",  # for all of which there is no room
)
"""What PyTorch says of it where it raises a RuntimeError."""


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


@dataclass(frozen=True)
class Tuning:
    """How a meta-batch is computed.

    Attributes:
        piece: episodes (or images) that go forward and backward together, and that share batch statistics. On a CPU
            the activations of a piece should fit into the cache; a piece too large costs a factor of two or more.
        bf16: whether the backbone runs under bfloat16 autocast.
        fused: whether its blocks are computed as one, in loops that are compiled; see `edge_adapt.training.compiling`.
    """

    piece: int
    bf16: bool
    fused: bool = False

    @contextlib.contextmanager
    def applied(self, device: torch.device) -> Iterator[None]:
        """How the backbone is computed, as a context."""
        with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16), fusing(self.fused):
            yield


def choose(
    learner: MetaLearner,
    device: torch.device,
    objective: Objective,
    piece: int | None = None,
    bf16: bool | None = None,
    processes: int = 1,
) -> Tuning:
    """What makes the fastest outer step.

    On a GPU nothing is measured: it takes all at once, in bfloat16 where it has that in hardware. On a CPU, forward and backward
    are timed over pieces of several sizes in float32 and bfloat16, in turn, round after round, so that a moment at which the
    machine is busy slows them all. Those that memory does not suffice for are out.

    Args:
        learner: the model; a copy is timed, so that its running statistics stay as they are.
        device: where it trains.
        objective: what is to be trained; every piece divides its outer step.
        piece, bf16: what is decided already.
        processes: how many share the pieces of an outer step; each has a piece at least, where there are episodes (or images)
            enough.
    """
    units = objective.units
    if device.type == "cuda":
        # Older GPUs emulate bfloat16, slowly.
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
        return Tuning(piece or largest_piece(units, processes), in_hardware if bf16 is None else bf16)
    pieces = [piece] if piece else pieces_to_try(objective, processes)
    precisions = (False, True) if bf16 is None else (bf16,)
    candidates = [Tuning(size, precision) for size in pieces for precision in precisions]
    if len(candidates) == 1:
        return candidates[0]
    seconds = seconds_per_step(learner, candidates, device, objective, processes)
    if not seconds:
        return smaller(candidates[0], units) or candidates[0]
    return min(seconds, key=seconds.__getitem__)


def pieces_to_try(objective: Objective, processes: int) -> list[int]:
    """Those that divide an outer step and leave one to each process, in rising order."""
    largest = largest_piece(objective.units, processes)
    return [size for size in objective.pieces if size <= largest and objective.units % size == 0] or [largest]


def seconds_per_step(
    learner: MetaLearner, tunings: Iterable[Tuning], device: torch.device, objective: Objective, processes: int
) -> dict[Tuning, float]:
    """Of an outer step with each of those that may be the fastest: the best of several rounds.

    Those that memory does not suffice for are left out, as are fused ones that do not compile, for whatever reason.
    """
    trial, seconds = copy.deepcopy(learner), dict.fromkeys(tunings, float("inf"))
    for trial_round in range(_ROUNDS + 1):
        for tuning in list(seconds):
            spent = _seconds_per_unit(trial, tuning, device, objective)
            if spent is None:
                del seconds[tuning]
            elif trial_round:  # the first builds kernels
                seconds[tuning] = min(seconds[tuning], spent * busiest(objective.units, tuning.piece, processes))
        if trial_round == 1 and seconds:
            hopeless = 1.5 * min(seconds.values())
            seconds = {tuning: spent for tuning, spent in seconds.items() if spent <= hopeless}
    return seconds


def smaller(tuning: Tuning, units: int) -> Tuning | None:
    """With the piece halved, or what below that divides the outer step; None where it is one episode (or image) already."""
    sizes = [size for size in range(1, tuning.piece // 2 + 1) if units % size == 0]
    return replace(tuning, piece=sizes[-1]) if sizes else None


def shared(tuning: Tuning, units: int, processes: int) -> Tuning:
    """With a piece that is smaller where a run goes on with more processes than an outer step has pieces."""
    return replace(tuning, piece=min(tuning.piece, largest_piece(units, processes)))


def largest_piece(units: int, processes: int) -> int:
    """The largest piece that leaves one to each process, or where there are more processes than episodes, a piece of one."""
    return max(size for size in range(1, units + 1) if units % size == 0 and units // size >= min(processes, units))


def busiest(units: int, piece: int, processes: int) -> int:
    """How many episodes (or images) of an outer step the process with the most of its pieces computes."""
    return math.ceil(units // piece / processes) * piece


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _TOO_LITTLE_MEMORY)


def _seconds_per_unit(learner: MetaLearner, tuning: Tuning, device: torch.device, objective: Objective) -> float | None:
    """None where memory does not suffice, or fused blocks do not compile."""
    began = time.perf_counter()
    try:
        with tuning.applied(device):
            loss, _ = objective.loss(learner, tuning.piece)
        loss.backward()  # type: ignore[no-untyped-call]
    except Exception as error:  # compilers that are missing, lack headers or fail raise many kinds
        if isinstance(error, EdgeAdaptError) or not (tuning.fused or is_out_of_memory(error)):
            raise
        return None
    return (time.perf_counter() - began) / tuning.piece


def give_back_memory(device: torch.device) -> None:
    """Return what was kept of freed memory to the system, since what was too little may be used otherwise now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


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
