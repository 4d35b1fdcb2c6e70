"""Frames that a program writes to standard input: raw pixels, or JPEGs one after the other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.errors import EdgeAdaptError, ImageError
from edge_adapt.runtime.images.decoding import MAX_PIXELS, MAX_SIDE
from edge_adapt.runtime.images.images import ImageSource, NamedImage, UnreadImage
from edge_adapt.runtime.streams.jpegs import jpegs

_RAW = re.compile(r"raw:(\d{1,9})x(\d{1,9})(?::(rgb|bgr|gray))?")


@dataclass(frozen=True)
class RawFrames:
    """Frames of pixels without a header, row by row, 8 bits a channel.

    Attributes:
        width, height: pixels.
        order: "rgb", "bgr" or "gray".
    """

    width: int
    height: int
    order: str = "rgb"

    def read(self, stream: BufferedIOBase) -> Iterator[NDArray[np.uint8]]:
        """The frames, uint8 [H, W, 3] or [H, W]. Raises ImageError where the stream ends within one."""
        shape = (self.height, self.width) if self.order == "gray" else (self.height, self.width, 3)
        size, number = int(np.prod(shape)), 0
        while data := stream.read(size):
            number += 1
            if len(data) < size:
                raise ImageError(
                    f"frame {number} is cut short: standard input ended {size - len(data):,} bytes before the end of it, which "
                    f"{self.width}x{self.height}:{self.order} puts at {size:,}."
                )
            yield np.frombuffer(data, np.uint8).reshape(shape)


def frames(spelling: str, stream: BufferedIOBase) -> Iterator[UnreadImage]:
    """The frames of a stream, "frame 1" the first, each as soon as it is there.

    Args:
        spelling: see `raw_or_jpegs`.
        stream: where they come from.

    Raises:
        ImageError: there is none, or see `RawFrames.read` and `jpegs`.
    """
    raw = raw_or_jpegs(spelling)
    sources: Iterator[ImageSource] = jpegs(stream) if raw is None else raw.read(stream)
    bgr = raw is not None and raw.order == "bgr"
    number = 0
    for number, source in enumerate(sources, 1):
        yield NamedImage(f"frame {number}", source, f"frame {number}", bgr)
    if not number:
        raise ImageError("standard input holds no frame; see what the program that writes them says.")


def raw_or_jpegs(spelling: str) -> RawFrames | None:
    """What "raw:640x480", "raw:640x480:bgr" or "raw:640x480:gray" says; None for "mjpeg".

    Raises:
        EdgeAdaptError: it says none of these, or the frames would have no pixels, or too many.
    """
    if spelling == "mjpeg":
        return None
    match = _RAW.fullmatch(spelling)
    if match is None:
        raise EdgeAdaptError(f"{spelling!r} are no frames; take raw:WxH, raw:WxH:bgr, raw:WxH:gray or mjpeg.")
    width, height = int(match[1]), int(match[2])
    if not (0 < width * height <= MAX_PIXELS and max(width, height) <= MAX_SIDE):
        raise EdgeAdaptError(
            f"frames of {width} x {height} pixels are not possible; take 1 to {MAX_SIDE:,} a side, {MAX_PIXELS:,} in all at most."
        )
    return RawFrames(width, height, match[3] or "rgb")
