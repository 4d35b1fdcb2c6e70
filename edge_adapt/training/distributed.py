"""Training in several processes, as `torchrun` starts them. Where there is one process, nothing here does anything.

Every process holds the whole model and the data, and takes the same steps; what it computes of each differs. The first process,
rank 0, decides and writes. Gradients travel over NCCL between GPUs; all else, and gradients between CPUs, over Gloo.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.words import first_line
from edge_adapt.training.memory import is_out_of_memory

T = TypeVar("T")

ENDED = "another process of this training ended; the last checkpoint is kept, start it again with --resume."

_PATIENCE = timedelta(days=1)
"""How long processes wait for each other: for as long as the first one reads the data or measures. A process that has ended is
noticed by its connection, at once."""

_POLL_SECONDS = 1e-4

_times_joined = itertools.count()
"""Each time has keys of its own in the store, where those of the time before would mislead."""

_stores: list[Any] = []
"""The `torch.distributed.Store` while joined. Torchrun holds what is in it, so that it outlives each of the processes."""


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
    """Take part in the training that torchrun started this process for. Within another `joined`, it changes nothing.

    When torchrun finds that one process has ended, it sends the others SIGTERM, which raises an error here.

    Raises:
        EdgeAdaptError: the processes do not find each other, or another one ended.
    """
    if _is_joined() or not _is_launched():
        yield
        return
    from torch.distributed.distributed_c10d import PrefixStore  # not every build of PyTorch has it
    from torch.distributed.rendezvous import rendezvous

    try:
        held, number, size = next(iter(rendezvous("env://", timeout=_PATIENCE)))
        # Torchrun keeps one store over its restarts, with what the processes before have left in it.
        own = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", held)
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
        store = PrefixStore(f"group {next(_times_joined)}", own)
        dist.init_process_group(backend, store=store, rank=number, world_size=size, timeout=_PATIENCE)
    except RuntimeError as error:
        reason = first_line(error)
        raise EdgeAdaptError(
            f"the processes of this training do not find each other ({reason}); start them again with torchrun."
        ) from error
    _stores.append(own)
    try:
        with _raising_on_sigterm():
            yield
    finally:
        _stores.pop()
    # Not after an error: NCCL would wait for what the process that is gone was to send.
    dist.destroy_process_group()


@contextlib.contextmanager
def in_one_voice() -> Iterator[None]:
    """Let through the error of the process that ends first; the others, which end because of it, do so without a word."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if _stores:
            with contextlib.suppress(RuntimeError):  # torchrun itself is gone
                if _stores[-1].add("ended", 1) > 1:
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
    if _local_rank():
        _wait_for_all()
    try:
        yield
    finally:
        if not _local_rank():
            _wait_for_all()


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
    if processes() > 1:
        for tensor in tensors:
            _finish(lambda tensor=tensor: dist.broadcast(tensor, src=0, async_op=True))  # type: ignore[misc]


@torch.no_grad()
def sum_over_processes(tensors: Sequence[Tensor]) -> None:
    """Replace tensors by their sums over all processes, in one go; integers are exact up to 2^24."""
    if processes() == 1:
        return
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    flat = torch.cat([tensor.flatten().to(dtype) for tensor in tensors])
    _finish(lambda: dist.all_reduce(flat, async_op=True))
    for tensor, summed in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(summed.view_as(tensor))


def _finish(start: Callable[[], Any]) -> None:
    """Wait for a collective operation in Python, where signals are heard."""
    with _noticing_the_end_of_others():
        work = start()
        while not work.is_completed():
            time.sleep(_POLL_SECONDS)
        work.wait()


def _wait_for_all() -> None:
    if processes() > 1:
        _finish(lambda: dist.all_reduce(torch.zeros(1), async_op=True))


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _is_launched() -> bool:
    """Whether torchrun started this process, and others with it."""
    return dist.is_available() and dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1


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


@contextlib.contextmanager
def _raising_on_sigterm() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the error is on its way
        raise EdgeAdaptError(ENDED)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise
    signal.signal(signal.SIGTERM, previous)
