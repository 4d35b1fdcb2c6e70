"""Features of a data set under a backbone that does not change: computed once, then read from a file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import EpisodeModel, embed_dataset
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.images import reason

_HASHED_TOGETHER = 1024


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
    path = directory / f"features-{_key(weights, data.images)}.npy"
    try:
        features = np.load(path, allow_pickle=False)
        if features.dtype == np.float32 and features.ndim == 2 and len(features) == len(data.images):
            return np.asarray(features)
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged: a file takes its name when it is whole, so this is rare
    features = embed_dataset(model, data, progress=progress).queries
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeAdaptError(
            f"{directory} cannot be made to hold the features of {data.source} ({reason(error)}); choose another place with "
            "--cache."
        ) from error
    write_atomically(path, lambda stream: np.save(stream, features))
    return features


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


def _key(weights: str, images: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(f"{weights} {images.shape}\n".encode())
    for start in range(0, len(images), _HASHED_TOGETHER):
        digest.update(np.ascontiguousarray(images[start : start + _HASHED_TOGETHER]).data)
    return digest.hexdigest()[:32]
