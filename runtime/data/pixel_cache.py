"""The pixels of a data set in a file, from which they are mapped: a data set may be larger than memory.

A cache is a NumPy file of the pixels, uint8 [I, H, W, C], and beside it a JSON file of which images could not be read, with a
CRC-32. Both are named after what they were made from, and get their names when they are whole and on the disk, the JSON last.
Neither what a killed build leaves behind nor what another process builds at the same time is taken for a cache that it is not.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.data.reading import read_blocks
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.images.folders import ImageFile, ImageFolder
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.progress import Progress, say
from edge_adapt.runtime.words import reason

FORMAT_VERSION = 1
"""Counts up when the same files would give other pixels or another layout."""


def default_cache() -> Path:
    """The folder for caches where the user names none: `edge-adapt` in $XDG_CACHE_HOME, or in ~/.cache.

    Raises:
        EdgeAdaptError: the user has no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError as error:
            raise EdgeAdaptError("there is no home folder to keep a cache in; name a folder with --cache.") from error
    return base / "edge-adapt"


def make_cache(directory: Path, what: str) -> None:
    """Make the folder of a cache where there is none; `what` is to lie there, for the message.

    Raises:
        EdgeAdaptError: it cannot be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeAdaptError(
            f"{directory} cannot be made to hold {what} ({reason(error)}); choose another place with --cache."
        ) from error


def cached_pixels(
    folder: ImageFolder,
    wanted: Sequence[str],
    preprocessing: Preprocessing,
    rotations: bool,
    directory: Path | None,
    progress: bool = False,
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pixels of a folder's images, mapped from its cache, which is built first where there is none that fits.

    Args:
        folder: what is read.
        wanted: the lines that picked its classes; they and the next two tell the caches of one folder apart.
        preprocessing: the size and channels of the pixels.
        rotations: the images three times more, turned by 90, 180 and 270 degrees, in the cache too.
        directory: where caches lie; None takes `default_cache()`.
        progress: show a bar, and say where the cache lies and why it is built.

    Returns:
        uint8 [I, H, W, C], a memory map whose changes, if any, stay out of the file; and the position, among all files of
        the folder, of each that could not be read -> the sentence that says why.

    Raises:
        EdgeAdaptError: the cache cannot be written.
    """
    files = [file for members in folder.classes.values() for file in members]
    directory, stem = directory or default_cache(), _stem(folder.path, wanted, preprocessing, rotations)
    path, turns = directory / f"{stem}-{_fingerprint(files)}.npy", 4 if rotations else 1
    shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
    older = set(directory.glob(f"{stem}-*")) - {path, path.with_suffix(".json")}
    try:
        found = _open(path, len(files), turns, shape)
    except FileNotFoundError:
        changed = f"the cache in {directory} was made before {folder.path} changed; " if older else ""
        size = len(files) * turns * math.prod(shape) / 1e6
        say(f"{changed or f'{folder.path}: '}caching the pixels, {size:,.1f} MB, in {path}", progress)
    except Exception as error:  # damage raises many kinds
        say(f"the cache {path} is damaged ({reason(error)}); building it anew", progress)
    else:
        say(f"{folder.path}: taking the pixels from the cache {path}", progress)
        return found
    make_cache(directory, f"a cache of {folder.path}")
    faults: dict[int, str] = {}

    def build(stream: BinaryIO) -> None:
        count = 0
        _write_header(stream, (len(files) * turns, *shape))
        for block in read_blocks(files, str(folder.path), preprocessing, progress):
            stream.write(block.pixels.data)
            count += len(block.pixels)
            faults.update(block.faults)
        if rotations and count:
            _append_rotations(stream, (count, *shape), progress)
        stream.seek(0)
        _write_header(stream, (count * turns, *shape))

    write_atomically(path, build)
    listed = list(faults.items())
    described = json.dumps({"faults": listed, "crc32": _checksum(listed)}).encode()
    write_atomically(path.with_suffix(".json"), lambda stream: stream.write(described))
    for outdated in older:
        with suppress(OSError):  # gone already, or on Windows still in use
            outdated.unlink()
    return _open(path, len(files), turns, shape)


def _stem(source: Path, wanted: Sequence[str], preprocessing: Preprocessing, rotations: bool) -> str:
    """How the names of a source's caches begin; the same where it has changed since, so that the new cache replaces the old."""
    key = [FORMAT_VERSION, os.path.realpath(source), sorted(set(wanted)), asdict(preprocessing), rotations]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', Path(os.path.realpath(source)).stem)[:40]}-{digest}"


def _fingerprint(files: Sequence[ImageFile]) -> str:
    """Changes when a file is added, removed, renamed or written to; of a zip, when it is written to."""
    stamps: dict[Path, tuple[int, int]] = {}
    digest = hashlib.sha256()
    for file in files:
        if file.stored_in not in stamps:
            try:
                status = file.stored_in.stat()
                stamps[file.stored_in] = (status.st_size, status.st_mtime_ns)
            except OSError:  # gone since it was listed; reading it says so
                stamps[file.stored_in] = (0, 0)
        digest.update(json.dumps([file.name, *stamps[file.stored_in]]).encode())
    return digest.hexdigest()[:16]


def _open(path: Path, files: int, turns: int, shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """The pixels and faults of a cache of so many files.

    Raises:
        FileNotFoundError: there is none.
        Exception: it is damaged.
    """
    described = json.loads(path.with_suffix(".json").read_bytes())
    if _checksum(described["faults"]) != described["crc32"]:
        raise ValueError("its description does not match its checksum")
    faults = dict(described["faults"])
    # Copy on write, and not read-only: PyTorch takes no array for a tensor that it could not write to.
    pixels = np.load(path, mmap_mode="c", allow_pickle=False)
    fits = pixels.dtype == np.uint8 and pixels.shape == ((files - len(faults)) * turns, *shape)
    if not fits or pixels.offset + pixels.nbytes != path.stat().st_size:  # NumPy passes over bytes behind the last
        raise ValueError("it has another size than it should")
    return pixels, faults


def _checksum(faults: list[tuple[int, str]]) -> int:
    return zlib.crc32(json.dumps(faults).encode())


def _write_header(stream: BinaryIO, shape: tuple[int, ...]) -> None:
    """That of a NumPy file, which is padded so that another number of images can take the place of the first."""
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _append_rotations(stream: BinaryIO, shape: tuple[int, int, int, int], progress: bool) -> None:
    """Write the images that end the stream three times more, turned by 90, 180 and 270 degrees."""
    stream.flush()
    upright = np.memmap(stream.name, np.uint8, "r", stream.tell() - math.prod(shape), shape)
    with Progress("turning", 3 * len(upright), "images", show=progress) as bar:
        for turns in (1, 2, 3):
            for image in upright:
                stream.write(np.rot90(image, turns).tobytes())
                bar.advance()
