"""Many image files to pixels, on several threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.folders import ImageFile
from edge_adapt.runtime.images import Preprocessing, load_image, preprocess
from edge_adapt.runtime.parallel import cores, in_order
from edge_adapt.runtime.progress import Progress

_BLOCK = 16
"""Images that a thread reads at a time: enough to hide the cost of handing them over, few enough to stop at once."""


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
    starts = range(0, len(files), _BLOCK)
    threads = min(2 * cores(), len(starts))  # more than cores, since some wait for the disk
    read = partial(_read, files, source, preprocessing)
    with Progress(f"reading {source}", len(files), "images", show=progress) as bar:
        for block in in_order(read, starts, threads):
            bar.advance(len(block.pixels) + len(block.faults))
            yield block


def _read(files: Sequence[ImageFile], source: str, preprocessing: Preprocessing, start: int) -> Block:
    block = files[start : start + _BLOCK]
    height, width = preprocessing.height, preprocessing.width
    pixels = np.empty((len(block), height, width, preprocessing.channels), np.uint8)
    faults: dict[int, str] = {}
    for index, file in enumerate(block):
        try:
            image = load_image(file.read(), f"{source}/{file.name}", (width, height)).image
            pixels[index - len(faults)] = preprocess(image, preprocessing)
        except EdgeAdaptError as error:  # a file that is no image, or a damaged entry of a zip
            faults[start + index] = str(error)
    return Block(pixels[: len(block) - len(faults)], faults)
