"""Features of a data set under a backbone that does not change: computed once, then read from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.pixel_cache import make_cache
from edge_adapt.runtime.evaluation import embed_dataset
from edge_adapt.runtime.files import write_atomically

_HASHED_TOGETHER = 1024

Number = TypeVar("Number", bound=np.generic)


def cached_features(
    model: EpisodeModel, weights: str, data: ImageDataset, directory: Path, progress: bool = False
) -> NDArray[np.float32]:
    """The features of every image, float32 [I, D], from the cache where these weights have seen these images before.

    Args:
        model: `embed` computes the features.
        weights: what identifies the backbone, such as a SHA-256.
        data: the images.
        directory: where caches lie; made where there is none.
        progress: show a bar.

    Raises:
        EdgeAdaptError: the cache cannot be written.
    """
    path = directory / f"features-{digest_of_images(data.images, weights)[:32]}.npy"
    found = features_in(path, np.float32, len(data.images))
    if found is not None:
        return np.array(found)
    features = embed_dataset(model, data, progress=progress).queries
    make_cache(directory, f"the features of {data.source}")
    write_atomically(path, lambda stream: np.save(stream, features))
    return features


def features_in(path: Path, dtype: type[Number], count: int) -> NDArray[Number] | None:
    """Features [count, D] mapped from a file of a cache; None where it is not there, or not such a file."""
    try:
        features = np.load(path, mmap_mode="c", allow_pickle=False)
    except Exception:  # of many kinds where it is damaged; a file takes its name when it is whole, so this is rare
        return None
    return features if features.dtype == dtype and features.ndim == 2 and len(features) == count else None


def digest_of(module: nn.Module) -> str:
    """SHA-256 of a module's parameters and buffers with their names, hexadecimal."""
    return digest_of_state(module.state_dict())


def digest_of_state(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors with their names, hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def digest_of_images(images: NDArray[np.uint8], weights: str = "") -> str:
    """SHA-256 of images, uint8 [I, H, W, C], and of what is to see them, hexadecimal."""
    digest = hashlib.sha256(f"{weights} {images.shape}\n".encode())
    for start in range(0, len(images), _HASHED_TOGETHER):
        digest.update(np.ascontiguousarray(images[start : start + _HASHED_TOGETHER]).data)
    return digest.hexdigest()
