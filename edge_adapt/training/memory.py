"""Memory: whether an error says that it does not suffice, and how the system's is given back and kept."""

from __future__ import annotations

import contextlib
import ctypes
import sys

import torch

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


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _TOO_LITTLE_MEMORY)


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
