"""Labelled images as one array, and episodes drawn from it. NumPy only, so that `evaluate` runs on a device."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.folders import ImageFolder, open_folder, select_classes
from edge_adapt.runtime.images import Preprocessing, load_image, preprocess
from edge_adapt.runtime.progress import Progress


@dataclass(frozen=True)
class ImageDataset:
    """A data set after preprocessing, in memory.

    Attributes:
        source: where it came from, for messages.
        images: uint8 [I, H, W, C]; the images of a class lie side by side.
        class_names: one name a class.
        starts: int64 [classes + 1]; class c is images[starts[c]:starts[c + 1]].
    """

    source: str
    images: NDArray[np.uint8]
    class_names: tuple[str, ...]
    starts: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many images each class has, int64 [classes]."""
        return np.diff(self.starts)

    def require(self, n_way: int, per_class: int) -> None:
        """Raise `DataError` unless every episode of `n_way` classes with `per_class` images each can be drawn."""
        if n_way > len(self.class_names):
            raise DataError(
                f"{self.source}: {n_way} ways need as many classes and there are {len(self.class_names)}; choose a smaller --way."
            )
        smallest = int(self.counts.argmin())
        if self.counts[smallest] < per_class:
            raise DataError(
                f"{self.source}: class {self.class_names[smallest]!r} has {self.counts[smallest]} images where an episode takes "
                f"{per_class}; add images or choose a smaller --shot or --query."
            )


def load_dataset(
    path: str | os.PathLike[str],
    preprocessing: Preprocessing,
    classes: Sequence[str | os.PathLike[str]] = (),
    rotations: bool = False,
    progress: bool = False,
) -> ImageDataset:
    """Read and preprocess every image of a folder or zip with one sub-folder a class.

    Args:
        path: the folder or zip.
        preprocessing: the size and channels to bring the images to.
        classes: files with one class a line; only classes whose path ends with a line are read. Empty: all.
        rotations: make four classes of each, turned by 0, 90, 180 and 270 degrees; needs square images.
        progress: show a bar.

    Raises:
        DataError: the folder, its classes or a `classes` file cannot be used.
        ImageError: an image cannot be read.
    """
    folder = open_classes(path, classes)
    files = [file for images in folder.classes.values() for file in images]
    images = np.empty((len(files), preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8)
    with Progress(f"reading {path}", len(files), "images", show=progress) as bar:
        for index, file in enumerate(files):
            images[index] = preprocess(load_image(file.read(), f"{path}/{file.name}").image, preprocessing)
            bar.advance()
    starts = np.cumsum([0, *(len(members) for members in folder.classes.values())], dtype=np.int64)
    dataset = ImageDataset(str(path), images, tuple(folder.classes), starts)
    return _with_rotations(dataset) if rotations else dataset


def open_classes(path: str | os.PathLike[str], classes: Sequence[str | os.PathLike[str]] = ()) -> ImageFolder:
    """`open_folder`, of which `select_classes` keeps the classes that these files list, one a line; empty: all."""
    folder = open_folder(path)
    if not classes:
        return folder
    wanted = [line for listing in classes for line in _read_lines(Path(listing))]
    return select_classes(folder, wanted, ", ".join(str(listing) for listing in classes))


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a byte order mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: the list of classes cannot be read ({error}); give a text file with one class a line."
        ) from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: the list of classes is empty; give one class a line.")
    return lines


def _with_rotations(dataset: ImageDataset) -> ImageDataset:
    _, height, width, _ = dataset.images.shape
    if height != width:
        raise DataError(f"{dataset.source}: rotations need square images and these are {height}x{width}.")
    total = len(dataset.images)
    return ImageDataset(
        dataset.source,
        np.concatenate([np.rot90(dataset.images, turns, axes=(1, 2)) for turns in range(4)]),
        tuple(f"{name} rotated {90 * turns}" for turns in range(4) for name in dataset.class_names),
        np.concatenate([*(dataset.starts[:-1] + total * turns for turns in range(4)), [4 * total]]),
    )


@dataclass(frozen=True)
class Episode:
    """Indices into a data set: what to learn from and what to be asked.

    Attributes:
        support: int64 [M], the support set.
        support_labels: int64 [M] in 0..n_way-1.
        query: int64 [Q], the query set; no image is in both.
        query_labels: int64 [Q].
    """

    support: NDArray[np.int64]
    support_labels: NDArray[np.int64]
    query: NDArray[np.int64]
    query_labels: NDArray[np.int64]


def draw_episodes(
    dataset: ImageDataset, n_way: int, n_shot: int, n_query: int, episodes: int, seed: int
) -> Iterator[Episode]:
    """Draw evaluation episodes: `n_way` classes, then `n_shot` support images of each and as many as `n_query` of the rest.

    A class with fewer than `n_shot + n_query` images gives the queries that it has. The same arguments draw the same episodes.

    Raises:
        DataError: too few classes, or a class without an image left for a query.
    """
    dataset.require(n_way, n_shot + 1)
    random = np.random.default_rng(seed)
    counts = dataset.counts
    for _ in range(episodes):
        support, query, query_labels = [], [], []
        for label, chosen in enumerate(random.choice(len(counts), n_way, replace=False)):
            order = dataset.starts[chosen] + random.permutation(counts[chosen])
            support.append(order[:n_shot])
            query.append(order[n_shot : n_shot + n_query])
            query_labels.append(np.full(len(query[-1]), label, np.int64))
        labels = np.repeat(np.arange(n_way, dtype=np.int64), n_shot)
        yield Episode(np.concatenate(support), labels, np.concatenate(query), np.concatenate(query_labels))
