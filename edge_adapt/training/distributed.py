"""Training in several processes, as `torchrun` starts them. Where there is one process, nothing here does anything.

Every process holds the whole model and the data, and takes the same steps; what it computes of each differs. The first process,
rank 0, decides and writes. Gradients travel over NCCL between GPUs; all else, and gradients between CPUs, over Gloo.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from edge_adapt.networks.memory import is_out_of_memory
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.words import first_line

T = TypeVar("T")

ENDED = "another process of this training ended; the last checkpoint is kept, start it again with --resume."

_PATIENCE = timedelta(days=1)
"""How long processes wait for each other: for as long as the first one reads the data or measures. A process that has ended is
noticed by its connection, at once."""


def rank() -> int:
    """The number of this process, from 0 on."""
    return dist.get_rank() if _is_joined() else 0


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_joined() else 1


def is_first() -> bool:
    """Whether this is the process that decides and writes."""
    return rank() == 0


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Take part in the training that torchrun started this process for, from now on until the process ends.

    When torchrun finds that one process has ended, it sends the others SIGTERM, which raises an error here.

    Raises:
        EdgeAdaptError: the processes do not find each other, or another one ended.
    """
    if _is_launched() and not _is_joined():
        _join()
    try:
        yield
    except BaseException:
        atexit.unregister(dist.destroy_process_group)  # NCCL would wait for what a process that is gone was to send
        raise


def _is_launched() -> bool:
    """Whether torchrun started this process, and others with it."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


def _join() -> None:
    from torch.distributed.distributed_c10d import PrefixStore  # not every build of PyTorch has it
    from torch.distributed.rendezvous import rendezvous

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    try:
        held, number, size = next(iter(rendezvous("env://", timeout=_PATIENCE)))
        # Torchrun keeps one store over its restarts, with what the processes before have left in it.
        own = PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", held)
        dist.init_process_group(backend, store=own, rank=number, world_size=size, timeout=_PATIENCE)
    except RuntimeError as error:
        raise EdgeAdaptError(
            f"the processes of this training do not find each other ({first_line(error)}); start them again with torchrun."
        ) from error
    atexit.register(dist.destroy_process_group)
    with contextlib.suppress(ValueError):  # outside of the main thread, which alone may handle signals
        signal.signal(signal.SIGTERM, _end)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the error is on its way
    raise EdgeAdaptError(ENDED)


@contextlib.contextmanager
def in_one_voice() -> Iterator[None]:
    """Let through the error of the process that ends first; the others, which end because of it, do so without a word."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if processes() > 1:
            from torch.distributed.distributed_c10d import _get_default_store

            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            with contextlib.suppress(RuntimeError):  # torchrun, which holds the store, is gone
                if _get_default_store().add("ended", 1) > 1:
                    raise SystemExit(1) from error
        raise


def place(device: torch.device) -> torch.device:
    """The device of this process: of several GPUs the one that torchrun means for it.

    Raises:
        EdgeAdaptError: there are more processes than GPUs.
    """
    if device.type != "cuda" or processes() == 1:
        return device
    local = _local_rank()
    if local >= torch.cuda.device_count():
        raise EdgeAdaptError(
            f"this machine has fewer GPUs ({torch.cuda.device_count()}) than processes; start as many as it has, or take cpu."
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)


@contextlib.contextmanager
def first_alone() -> Iterator[None]:
    """Let the first process of each machine through and the others after it, to find what it has left in a cache."""
    turn = torch.zeros(1)
    if _local_rank():
        sum_over_processes([turn])
    try:
        yield
    finally:
        if not _local_rank():
            sum_over_processes([turn])


def of_first(compute: Callable[[], T]) -> T:
    """What the first process computes, or the EdgeAdaptError that it raises, in all of them; the others wait."""
    if processes() == 1:
        return compute()
    outcome: list[Any] = [None, None]
    if is_first():
        try:
            outcome[0] = compute()
        except EdgeAdaptError as error:
            outcome[1] = error
    with _noticing_the_end_of_others():
        dist.broadcast_object_list(outcome, src=0, device=torch.device("cpu"))
    if outcome[1] is not None:
        raise outcome[1]
    result: T = outcome[0]
    return result


@torch.no_grad()
def copy_from_first(tensors: Sequence[Tensor]) -> None:
    """Give tensors of all processes the values that they have in the first."""
    with _noticing_the_end_of_others():
        for tensor in tensors if processes() > 1 else ():
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in one go; integers are exact up to 2^24."""
    if processes() == 1:
        return
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    flat = torch.cat([tensor.flatten().to(dtype) for tensor in tensors])
    with _noticing_the_end_of_others():
        dist.all_reduce(flat)
    for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _local_rank() -> int:
    """The number of this process among those on its machine."""
    return int(os.environ.get("LOCAL_RANK", rank())) if processes() > 1 else 0


@contextlib.contextmanager
def _noticing_the_end_of_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of connections, of many kinds
        if is_out_of_memory(error):
            raise
        raise EdgeAdaptError(ENDED) from error
