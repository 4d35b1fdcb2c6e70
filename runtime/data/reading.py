"""Many image files to pixels, on all cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.data.decoders import Decoders, decode
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.folders import ImageFile
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.parallel import cores, in_order
from edge_adapt.runtime.progress import Progress

MANY = 2000
"""Files that are worth starting processes for, which takes some tenths of a second; fewer are decoded on threads."""

_BLOCK = 8
"""Images that are read together: enough to hide the cost of handing them over, few enough that encoded photos fit."""

_MOST_HELD = 16 * 1024 * 1024
"""Bytes of entries of a zip beyond which they are decoded before the next is read."""

_Decode: TypeAlias = "Callable[[Sequence[tuple[str, str | bytes]]], tuple[NDArray[np.uint8], dict[int, str]]]"


class Block(NamedTuple):
    """Neighbouring files, read.

    Attributes:
        pixels: uint8 [K, H, W, C], in the files' order; those that cannot be read are missing.
        faults: the position of each file that cannot be read -> the sentence that says why.
    """

    pixels: NDArray[np.uint8]
    faults: dict[int, str]


def read_blocks(
    files: Sequence[ImageFile], source: str, preprocessing: Preprocessing, progress: bool = False
) -> Iterator[Block]:
    """Read and preprocess every file, in order; `source` is the folder or zip, for messages."""
    threads = cores()
    with ExitStack() as stack:
        if len(files) < MANY or threads == 1:
            decode_block: _Decode = partial(decode, preprocessing=preprocessing)
        else:
            decode_block = stack.enter_context(Decoders(threads, preprocessing)).decode
            threads += 1  # which reads the next files
        bar = stack.enter_context(Progress(f"reading {source}", len(files), "images", show=progress))
        starts = range(0, len(files), _BLOCK)
        for block in in_order(partial(_read, files, source, decode_block), starts, threads):
            bar.advance(len(block.pixels) + len(block.faults))
            yield block


def _read(files: Sequence[ImageFile], source: str, decode_block: _Decode, start: int) -> Block:
    faults: dict[int, str] = {}
    pixels: list[NDArray[np.uint8]] = []
    positions: list[int] = []
    images: list[tuple[str, str | bytes]] = []
    held, end = 0, min(start + _BLOCK, len(files))
    for position in range(start, end):
        file = files[position]
        try:
            content = file.read() if file.own_file is None else str(file.own_file)
        except ImageError as error:  # a damaged entry of a zip
            faults[position] = str(error)
        else:
            images.append((file.shown, content))
            positions.append(position)
            held += len(content)
        if held > _MOST_HELD or position == end - 1:
            decoded, undecoded = decode_block(images)
            pixels.append(decoded)
            faults |= {positions[index]: sentence for index, sentence in undecoded.items()}
            positions, images, held = [], [], 0
    return Block(np.concatenate(pixels), dict(sorted(faults.items())))
