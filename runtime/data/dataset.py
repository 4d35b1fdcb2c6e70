"""Labelled images as one array."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.errors import DataError, ImageError
from edge_adapt.runtime.images.folders import ImageFolder, open_folder, select_classes
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.progress import say
from edge_adapt.runtime.words import plural

IN_MEMORY = 1 << 30
"""Bytes of pixels that are read into memory; a larger data set is mapped from a cache."""

MOST_NAMED = 20
"""Images that cannot be read and are named; all of them are counted."""


@dataclass(frozen=True)
class ImageDataset:
    """A data set after preprocessing, in memory or mapped from a cache.

    Attributes:
        source: where it came from, for messages.
        images: uint8 [I, H, W, C]; the images of a class lie side by side.
        class_names: one name a class.
        starts: int64 [classes + 1]; class c is images[starts[c]:starts[c + 1]].
        files: one name an image, its path below `source` with "/"; empty for images that come from no files.
        skipped: for each file that could not be read and was left out, the sentence that says why.
        description: what it is in words, for what is trained on it: names of files and how much was in them, but not where they
            lay.
        listings: the files with the classes that were read; empty for all.

    Raises:
        DataError: the images are of another type or shape.
    """

    source: str
    images: NDArray[np.uint8]
    class_names: tuple[str, ...]
    starts: NDArray[np.int64]
    files: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    description: str = ""
    listings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4:
            shape = ", ".join(map(str, self.images.shape))
            raise DataError(
                f"{self.source}: the images are {self.images.dtype} [{shape}], and a data set takes uint8 [I, H, W, C]; give "
                "pixels of 0 to 255, as they are decoded."
            )

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
    cache: str | os.PathLike[str] | None = None,
    skip_bad: bool = False,
) -> ImageDataset:
    """Read and preprocess every image of a folder or zip with one sub-folder a class, on all cores.

    Pixels of more than `IN_MEMORY` bytes go into a file instead, in `edge_adapt.runtime.data.pixel_cache.default_cache`, and
    `images` maps that file: the system reads what is used and forgets what it has no memory for. The next time the file is taken
    as it is, unless an image was added, removed or written to since.

    Args:
        path: the folder or zip.
        preprocessing: the size and channels to bring the images to.
        classes: files with one class a line; only classes whose path ends with a line are read. Empty: all.
        rotations: make four classes of each, turned by 0, 90, 180 and 270 degrees; needs square images. In a cache they lie
            turned, and take four times the space.
        progress: show a bar, and say what is cached and what is skipped.
        cache: a folder to keep the pixels in, whatever their size.
        skip_bad: leave out images that cannot be read, instead of refusing the data set.

    Raises:
        DataError: the folder, its classes or a `classes` file cannot be used.
        ImageError: images cannot be read; counts them all, and names the first `MOST_NAMED`.
        EdgeAdaptError: the cache cannot be written.
    """
    wanted = _wanted(classes)
    folder = _select(open_folder(path), wanted, classes)
    size = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if rotations and size[0] != size[1]:
        raise DataError(f"{path}: rotations need square images and these are {size[0]}x{size[1]}.")
    total = sum(map(len, folder.classes.values()))
    if cache is None and total * math.prod(size) * (4 if rotations else 1) <= IN_MEMORY:
        images, faults = _read(folder, preprocessing, progress)
        if rotations:
            images = np.concatenate([np.rot90(images, turns, axes=(1, 2)) for turns in range(4)])
    else:
        from edge_adapt.runtime.data.pixel_cache import cached_pixels

        directory = None if cache is None else Path(cache)
        images, faults = cached_pixels(folder, wanted, preprocessing, rotations, directory, progress)
    if faults:
        report_faults(faults, str(path), total, skip_bad, progress)
    read = _labelled(folder, images, faults, rotations)
    listings = tuple(os.fspath(listing) for listing in classes)
    return replace(read, description=_described(read, classes, rotations), listings=listings)


def _read(
    folder: ImageFolder, preprocessing: Preprocessing, progress: bool
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The images of a folder in memory, and the position of each file that cannot be read -> why."""
    from edge_adapt.runtime.data.reading import read_blocks  # starts threads, which a device does not need

    files = [file for members in folder.classes.values() for file in members]
    images = np.empty((len(files), preprocessing.height, preprocessing.width, preprocessing.channels), np.uint8)
    faults: dict[int, str] = {}
    count = 0
    for block in read_blocks(files, str(folder.path), preprocessing, progress):
        images[count : count + len(block.pixels)] = block.pixels
        count += len(block.pixels)
        faults |= block.faults
    return images[:count], faults


def report_faults(faults: Mapping[int, str], source: str, total: int, skip_bad: bool, progress: bool) -> None:
    """Say, where progress is shown, which of `total` images are skipped; ImageError where none may be, or none is left."""
    named = list(faults.values())[:MOST_NAMED]
    more = [f"and {len(faults) - len(named):,} more"] if len(faults) > len(named) else []
    if not skip_bad or len(faults) == total:
        remedy = "repair or remove them" + ("" if skip_bad else ", or pass --skip-bad")
        listed = "; ".join([*(sentence.rstrip(".") for sentence in named), *more, remedy])
        raise ImageError(f"{source}: {len(faults):,} of {total:,} images cannot be read: {listed}.")
    say(f"{source}: skipping {len(faults):,} of {total:,} images, which cannot be read:", progress)
    for line in (*named, *more):
        say(f"  {line}", progress)


def _described(data: ImageDataset, classes: Sequence[str | os.PathLike[str]], rotations: bool) -> str:
    turns = 4 if rotations else 1
    listed = f" ({', '.join(Path(listing).name for listing in classes)})" if classes else ""
    return (
        f"{Path(data.source).resolve().stem}{listed}: {plural(len(data.class_names) // turns, 'class', 'classes')}, "
        f"{plural(len(data.images) // turns, 'image')}{', in four rotations each' if rotations else ''}"
    )


def _labelled(
    folder: ImageFolder, images: NDArray[np.uint8], faults: Mapping[int, str], rotations: bool
) -> ImageDataset:
    """The data set of pixels that were read in the folder's order, less the faults, and perhaps four times over."""
    labels = np.repeat(np.arange(len(folder.classes)), [len(members) for members in folder.classes.values()])
    counts = np.bincount(np.delete(labels, list(faults)), minlength=len(folder.classes))
    names = [file.name for members in folder.classes.values() for file in members]
    names = [name for position, name in enumerate(names) if position not in faults]
    class_names = tuple(folder.classes)
    if rotations:
        class_names = tuple(f"{name} rotated {90 * turns}" for turns in range(4) for name in class_names)
        counts, names = np.tile(counts, 4), names * 4
    starts = np.cumsum([0, *counts], dtype=np.int64)
    return ImageDataset(str(folder.path), images, class_names, starts, tuple(names), tuple(faults.values()))


def open_classes(path: str | os.PathLike[str], classes: Sequence[str | os.PathLike[str]] = ()) -> ImageFolder:
    """`open_folder`, of which `select_classes` keeps the classes that these files list, one a line; empty: all."""
    return _select(open_folder(path), _wanted(classes), classes)


def _wanted(classes: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The lines of all listings."""
    return [line for listing in classes for line in _read_lines(Path(listing))]


def _select(folder: ImageFolder, wanted: Sequence[str], classes: Sequence[str | os.PathLike[str]]) -> ImageFolder:
    if not wanted:
        return folder
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
