"""Errors that say that memory does not suffice, and what is done then."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from edge_adapt.networks.memory import in_parts_that_fit, is_out_of_memory
from edge_adapt.runtime.errors import EdgeAdaptError

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (13, 4, 4, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    "said",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
        "CUDA error: out of memory\nCUDA kernel errors might be reported later.",
        "CUDA driver error: out of memory",
        "NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "Unable to find a valid cuDNN algorithm to run convolution",
        "GET was unable to find an engine to execute this computation",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
    ],
)
def test_what_pytorch_says_of_memory_is_understood(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(ValueError(said))


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle, opa, opb, m, n, k)`",
        "cuDNN error: CUDNN_STATUS_BAD_PARAM",
        "mat1 and mat2 shapes cannot be multiplied",
    ],
)
def test_other_faults_are_no_lack_of_memory(said: str) -> None:
    assert not is_out_of_memory(RuntimeError(said))


def scarce(most: int, error: BaseException | None = None) -> tuple[list[int], Callable[[Tensor], Tensor]]:
    """How many images were embedded at once, and an embedding that fails for more than `most`."""
    sizes: list[int] = []

    def embed(images: Tensor) -> Tensor:
        if len(images) > most:
            raise error or torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(len(images))
        return images.flatten(1).float()

    return sizes, embed


@pytest.mark.parametrize(("most", "sizes"), [(13, [13]), (6, [6, 3, 4]), (1, [1] * 13)])
def test_images_that_do_not_fit_together_go_in_parts(most: int, sizes: list[int]) -> None:
    seen, embed = scarce(most)
    features = in_parts_that_fit(embed, IMAGES, CPU)
    assert torch.equal(features, torch.from_numpy(IMAGES).flatten(1).float())
    assert seen == sizes


def test_an_image_that_does_not_fit_alone_is_a_sentence_with_a_remedy() -> None:
    with pytest.raises(EdgeAdaptError, match=r"a single image; take the CPU, or train with a smaller --image-size\.$"):
        in_parts_that_fit(scarce(0)[1], IMAGES, CPU)


def test_other_faults_pass_through() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        in_parts_that_fit(scarce(5, RuntimeError("mat1 and mat2 shapes"))[1], IMAGES, CPU)
