"""Memory: whether an error says that it does not suffice, what to do then, and how the system's is given back and kept."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_adapt.runtime import errors
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.memory import give_back

_TOO_LITTLE_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "could not create a primitive",  # of oneDNN, which has no room for its code
    "out of memory",  # of CUDA's runtime, its driver and NCCL
    "STATUS_ALLOC_FAILED",  # of cuBLAS, cuDNN, cuSOLVER and cuSPARSE
    "ALLOCATION_FAILED",  # of cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, and HOST
    "STATUS_NOT_INITIALIZED when calling `c",  # cublasCreate and the like, which allocate a workspace
    "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
    "Unable to find a valid cuDNN algorithm",  # for all of which there is no room
    "unable to find an engine to execute this computation",  # the same, as cuDNN has said it since version 8
)
"""What PyTorch says of it where it raises a RuntimeError. A library that cannot even begin has nearly always found no room."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory does not suffice, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError) or errors.is_out_of_memory(error):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _TOO_LITTLE_MEMORY)


def give_back_memory(device: torch.device) -> None:
    """Return what was kept of freed memory to the system, since what was too little may be used otherwise now."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        give_back()


def in_parts_that_fit(embed: Callable[[Tensor], Tensor], images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """`embed` of images on a device, all at once; where memory does not suffice, of one half and then the other.

    Args:
        embed: uint8 [B, H, W, C] to features [B, ...]; what it gives of an image does not depend on those beside it.
        images: uint8 [B, H, W, C].
        device: where the images go.

    Raises:
        EdgeAdaptError: memory does not suffice for a single image.
    """
    try:
        return embed(torch.from_numpy(np.ascontiguousarray(images)).to(device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        if len(images) == 1:
            raise EdgeAdaptError(
                "memory does not suffice for a single image; take the CPU, or train with a smaller --image-size."
            ) from error
    give_back_memory(device)  # out of the handler, where the error no longer holds what was computed
    middle = len(images) // 2
    return torch.cat([in_parts_that_fit(embed, part, device) for part in (images[:middle], images[middle:])])


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
