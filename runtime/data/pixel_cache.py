"""The pixels of a data set in one file, from which they are mapped: a data set may be larger than memory.

A cache is the pixels, uint8 [I, H, W, C] from the first byte on, then a description in JSON, then a trailer of 20 bytes: the
description's length and CRC-32 (little-endian, 8 and 4 bytes) and the word EDGEPIX1. The trailer comes last, and the file gets
its name when it is whole and on the disk, so what a killed build leaves behind is not taken for a cache.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.data.reading import read_blocks
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.images.decoding import reason
from edge_adapt.runtime.images.folders import ImageFile, ImageFolder
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.progress import Progress, say

FORMAT_VERSION = 1
"""Counts up when the same files would give other pixels or another layout."""

_TRAILER = struct.Struct("<QI8s")
_MAGIC = b"EDGEPIX1"
_TURNED_TOGETHER = 256


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
    path = _path(folder.path, wanted, preprocessing, rotations, directory or default_cache())
    fingerprint = _fingerprint(files)
    shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if path.exists():
        try:
            found = _open(path, fingerprint, shape)
        except (OSError, ValueError, KeyError, TypeError) as error:
            say(f"the cache {path} is damaged ({reason(error)}); building it anew", progress)
        else:
            if found is not None:
                say(f"{folder.path}: taking the pixels from the cache {path}", progress)
                return found
            say(f"the cache {path} was made before {folder.path} changed; building it anew", progress)
    else:
        size = len(files) * math.prod(shape) * (4 if rotations else 1)
        say(f"{folder.path}: caching the pixels, {size / 1e6:,.1f} MB, in {path}", progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgeAdaptError(
            f"{path.parent} cannot be made to hold a cache of {folder.path} ({reason(error)}); choose another place."
        ) from error

    def build(stream: BinaryIO) -> None:
        faults: dict[int, str] = {}
        count = 0
        for block in read_blocks(files, str(folder.path), preprocessing, progress):
            stream.write(block.pixels.data)
            count += len(block.pixels)
            faults |= block.faults
        if rotations and count:
            _append_rotations(stream, (count, *shape), progress)
            count *= 4
        text = json.dumps({"fingerprint": fingerprint, "images": count, "faults": list(faults.items())}).encode()
        stream.write(text + _TRAILER.pack(len(text), zlib.crc32(text), _MAGIC))

    write_atomically(path, build)
    built = _open(path, fingerprint, shape)
    assert built is not None
    return built


def _path(source: Path, wanted: Sequence[str], preprocessing: Preprocessing, rotations: bool, directory: Path) -> Path:
    """Where the cache lies; the same for a source that has changed since, so that it replaces its old cache."""
    key = [FORMAT_VERSION, os.path.realpath(source), sorted(set(wanted)), asdict(preprocessing), rotations]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(os.path.realpath(source)).stem)[:40]
    return directory / f"{stem}-{digest}.pixels"


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
    return digest.hexdigest()


def _open(path: Path, fingerprint: str, shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], dict[int, str]] | None:
    """The pixels and faults of a cache; None if it was built from other files.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is damaged.
    """
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _TRAILER.size))
        trailer = stream.read()
        if len(trailer) != _TRAILER.size or trailer[-len(_MAGIC) :] != _MAGIC:
            raise ValueError("its end is missing")
        length, checksum, _ = _TRAILER.unpack(trailer)
        pixels = size - _TRAILER.size - length
        if pixels < 0:
            raise ValueError("it is too short")
        stream.seek(pixels)
        text = stream.read(length)
    if zlib.crc32(text) != checksum:
        raise ValueError("its description does not match its checksum")
    described = json.loads(text)
    if described["fingerprint"] != fingerprint:
        return None
    images = (described["images"], *shape)
    if pixels != math.prod(images):
        raise ValueError("it has another size than it says")
    faults = {int(position): str(sentence) for position, sentence in described["faults"]}
    if not pixels:
        return np.empty(images, np.uint8), faults
    # Copy on write, and not read-only: PyTorch takes no array for a tensor that it could not write to.
    return np.memmap(path, np.uint8, "c", 0, images), faults


def _append_rotations(stream: BinaryIO, shape: tuple[int, int, int, int], progress: bool) -> None:
    """Write what the stream holds three times more, turned by 90, 180 and 270 degrees."""
    stream.flush()
    upright = np.memmap(stream.name, np.uint8, "r", 0, shape)
    with Progress("turning", 3 * shape[0], "images", show=progress) as bar:
        for turns in (1, 2, 3):
            for start in range(0, shape[0], _TURNED_TOGETHER):
                turned = np.rot90(upright[start : start + _TURNED_TOGETHER], turns, axes=(1, 2))
                stream.write(turned.tobytes())
                bar.advance(len(turned))
