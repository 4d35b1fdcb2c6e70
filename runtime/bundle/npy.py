"""The .npy entries of a bundle: NumPy's format 1.0 in C order, little-endian, float32 or int64.

`numpy.load` evaluates a header as a Python literal, and can be made to unpickle or to allocate at a header's word;
here the header is matched with one pattern, and its shape compared with the bytes that are there.
"""

from __future__ import annotations

import math
import re
import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_adapt.runtime.bundle.strict_json import quoted
from edge_adapt.runtime.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY\x01\x00"
_START = len(_MAGIC) + 2
_ALIGNMENT = 64
_MAX_DIMENSIONS = 32
_MAX_LENGTH = 2**40
_HEADER = re.compile(
    rb"\{'descr': '([^']{1,16})', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,400})\), \} *\n"
)
_SHAPE = re.compile(rb"|\d+,|\d+(?:, \d+)+")
_DTYPES: dict[bytes, np.dtype[Any]] = {b"<f4": np.dtype("<f4"), b"<i8": np.dtype("<i8")}
_DESCRIPTIONS: dict[np.dtype[Any], str] = {np.dtype(np.float32): "<f4", np.dtype(np.int64): "<i8"}


def array_to_npy(array: NDArray[Any], where: str) -> bytes:
    """The bytes of a .npy entry. Raises BundleError, naming `where`, unless the array is float32 or int64."""
    native = array.dtype.newbyteorder("=")
    if native not in _DESCRIPTIONS:
        raise BundleError(f"{where} is {array.dtype}, and a bundle holds float32 and int64 only.")
    description = _DESCRIPTIONS[native]
    header = f"{{'descr': '{description}', 'fortran_order': False, 'shape': {_shape_text(array.shape)}, }}"
    header += " " * (-(_START + len(header) + 1) % _ALIGNMENT) + "\n"
    # tobytes() is in C order whatever the order in memory.
    data = array.astype(description, copy=False).tobytes()
    return _MAGIC + struct.pack("<H", len(header)) + header.encode("ascii") + data


def array_from_npy(data: bytes, where: str) -> NDArray[Any]:
    """The array of a .npy entry, read-only float32 or int64 of any shape, all finite. Raises BundleError."""
    start = _START + int.from_bytes(data[len(_MAGIC) : _START], "little")
    header = _HEADER.fullmatch(data[_START:start])
    if not data.startswith(_MAGIC) or start > len(data) or start % _ALIGNMENT or header is None:
        raise BundleError(f"{where} is not a .npy array of format 1.0 as a bundle holds them.")
    description, fortran_order, shape_text = header.groups()
    dtype = _DTYPES.get(description)
    if dtype is None:
        found = quoted(description.decode("latin-1"))
        raise BundleError(f"{where} has the dtype {found}, and a bundle's arrays have '<f4' or '<i8'.")
    if fortran_order == b"True":
        raise BundleError(f"{where} is in Fortran order, and a bundle's arrays are in C order.")
    if not _SHAPE.fullmatch(shape_text):
        raise BundleError(f"{where} has a malformed shape.")
    shape = tuple(int(length) for length in shape_text.replace(b",", b" ").split())
    # The lengths beside a 0 count for nothing in the product, and NumPy would overflow on them.
    if len(shape) > _MAX_DIMENSIONS or (0 in shape and math.prod(filter(None, shape)) > _MAX_LENGTH):
        raise BundleError(f"{where} has an absurd shape.")
    if math.prod(shape) * dtype.itemsize != len(data) - start:
        raise BundleError(f"{where} has a shape that does not match its number of bytes.")
    array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    array = array.astype(dtype.newbyteorder("="), copy=False)
    array.flags.writeable = False
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise BundleError(f"{where} holds a NaN or an infinity; adapt again.")
    return array


def _shape_text(shape: tuple[int, ...]) -> str:
    """As Python writes a tuple: (), (3,), (2, 3)."""
    return f"({shape[0]},)" if len(shape) == 1 else f"({', '.join(map(str, shape))})"
