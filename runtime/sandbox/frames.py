"""What a process and its child say to each other: a JSON header and arrays of numbers.

Neither trusts the other: a frame's lengths are bounded before anything is made of them, and nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_HEADER = 64 * 1024
MAX_ARRAYS, MAX_RANK = 64, 8

_LENGTH = 8  # bytes that say how long the header is
_DTYPES = frozenset({"bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"}) | {
    "float16",
    "float32",
    "float64",
}


class FrameError(Exception):
    """A frame that is cut off, or that breaks the bounds."""


def write_frame(stream: BinaryIO, header: Mapping[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """Write one frame.

    Args:
        stream: where to.
        header: what JSON can hold; the key `arrays` is taken.
        arrays: of bools, integers and floats.

    Raises:
        FrameError: an array of anything else; nothing is written.
        OSError: who reads is gone.
    """
    for array in arrays:
        if str(getattr(array, "dtype", None)) not in _DTYPES:
            raise FrameError("an output is no array of numbers")
    described = [{"dtype": str(array.dtype), "shape": array.shape} for array in arrays]
    text = json.dumps({**header, "arrays": described}).encode()
    stream.write(len(text).to_bytes(_LENGTH, "little") + text)
    for array in arrays:
        stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    stream.flush()


def read_frame(stream: BinaryIO, most: int) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Read one frame.

    Args:
        stream: where from.
        most: bytes that its arrays may have in all.

    Raises:
        EOFError: nothing more comes.
        FrameError: what comes is no frame, or beyond the bounds.
    """
    start = stream.read(_LENGTH)
    if not start:
        raise EOFError
    length = int.from_bytes(start, "little")
    if len(start) < _LENGTH or length > MAX_HEADER:
        raise FrameError("a header is cut off or too long")
    try:
        header = json.loads(_exactly(stream, length))
        described = [(str(array["dtype"]), [_side(side) for side in array["shape"]]) for array in header.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FrameError("a header is malformed") from error
    if len(described) > MAX_ARRAYS or any(
        dtype not in _DTYPES or len(shape) > MAX_RANK or min(shape, default=0) < 0 for dtype, shape in described
    ):
        raise FrameError("an array is of another kind")
    sizes = [prod(shape) * np.dtype(dtype).itemsize for dtype, shape in described]
    if sum(sizes) > most:
        raise FrameError(f"arrays have more than {most} bytes")
    return header, [
        np.frombuffer(_exactly(stream, size), dtype).reshape(shape)
        for (dtype, shape), size in zip(described, sizes, strict=True)
    ]


def _side(value: object) -> int:
    if type(value) is not int:
        raise TypeError("the side of an array is no integer")
    return value


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise FrameError("a frame is cut off")
    return data
