"""A few crops of each training image that are the same in every run, and a teacher's features of them, computed once."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_adapt.methods.augmentation import random_maps, seen_through
from edge_adapt.methods.feature_cache import digest_of_images, features_in
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.runtime.contract import BATCH
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.pixel_cache import make_cache
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.progress import Progress


def stored_crops(data: ImageDataset, count: int) -> Tensor:
    """Where the crops of each image lie, mirroring included: float32 [count, I, 2, 3], for `seen_through`.

    The first is all of the image, the second of a photo all of it mirrored, and further ones are drawn, those of each number from
    a seed of their own, not from that of a run: what a teacher said of them serves every run on these images, and of more crops
    only the further ones are new.
    """
    images, channels = len(data.images), data.images.shape[-1]
    whole = torch.eye(2, 3).expand(images, 2, 3)
    kept = [whole, whole * torch.tensor([[-1.0], [1.0]])] if channels == 3 else [whole]
    further = range(len(kept), count)
    drawn = [random_maps(images, channels, torch.Generator().manual_seed(number)) for number in further]
    return torch.stack([*kept, *drawn][:count]).to(torch.float32)


def cut_for(teacher: FeatureTeacher, images: NDArray[np.uint8], maps: Tensor) -> NDArray[np.uint8]:
    """Crops as the teacher takes them, uint8 [B, H, W, C]; an RGB teacher sees grey images in all of its channels.

    Args:
        teacher: gives H, W and C.
        images: uint8 [B, ...], of the data set.
        maps: where the crops lie, [B, 2, 3].
    """
    size = teacher.preprocessing
    pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).to(torch.float32)
    crops = seen_through(pixels, maps, size.height, size.width).round().clamp(0, 255).to(torch.uint8)
    seen: NDArray[np.uint8] = crops.expand(-1, size.channels, -1, -1).permute(0, 2, 3, 1).contiguous().numpy()
    return seen


def features_of_crops(
    teacher: FeatureTeacher, data: ImageDataset, maps: Tensor, directory: Path, progress: bool = False
) -> list[NDArray[np.float16]]:
    """What a teacher gives for crops of every image, from the cache where it has seen them before.

    Half precision keeps three digits, and a cosine needs no more.

    Args:
        teacher: computes the features.
        data: I images.
        maps: where the crops lie, [K, I, 2, 3].
        directory: where caches lie; made where there is none.
        progress: show a bar.

    Returns:
        K times [I, D], mapped from their files.

    Raises:
        EdgeAdaptError: features are not finite, or the cache has no room for them or cannot be written.
    """
    images = digest_of_images(data.images, teacher.digest)
    keys = [sha256(images.encode() + crops.contiguous().numpy().tobytes()).hexdigest()[:32] for crops in maps]
    paths = [directory / f"teacher-{key}.npy" for key in keys]
    missing = [number for number, path in enumerate(paths) if features_in(path, np.float16, len(data.images)) is None]
    if missing:
        make_cache(directory, f"the features of {data.source}")
        _require_room(directory, 2 * len(missing) * len(data.images) * teacher.feature_size, teacher.name)
        with Progress("the teacher's features", len(missing) * len(data.images), "crops", show=progress) as bar:
            for number in missing:
                _write_features(paths[number], teacher, data, maps[number], bar)
    return [np.load(path, mmap_mode="c", allow_pickle=False) for path in paths]


def _write_features(path: Path, teacher: FeatureTeacher, data: ImageDataset, maps: Tensor, bar: Progress) -> None:
    """Compute the features of one crop of every image, its map [I, 2, 3], and leave them in a file."""
    features = np.empty((len(data.images), teacher.feature_size), np.float16)
    for start in range(0, len(features), BATCH):
        part = slice(start, start + BATCH)
        with np.errstate(over="ignore"):
            features[part] = teacher.embed(cut_for(teacher, data.images[part], maps[part]))
        if not np.isfinite(features[part]).all():
            raise EdgeAdaptError(
                f"the teacher {teacher.name} gives features of {data.source} that half precision cannot hold; see whether its "
                "pixels are normalized right, or take another."
            )
        bar.advance(len(features[part]))
    write_atomically(path, lambda stream: np.save(stream, features))


def _require_room(directory: Path, needed: int, teacher: str) -> None:
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise EdgeAdaptError(
            f"{directory} has {free / 1e6:,.0f} MB left and the features of the teacher {teacher} take {needed / 1e6:,.0f}; take "
            "fewer --teacher-crops, or another place with --cache."
        )
