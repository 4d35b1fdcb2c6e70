"""The container of a bundle: a zip whose bytes follow from its entries' names and contents alone.

Entries are stored as they are, one after another from the first byte on, and every other field of the zip
(PKWARE's APPNOTE, 4.3.7, 4.3.12 and 4.3.16) has one permitted value. So the reader rebuilds each header and
compares: what is compressed, encrypted, overlapping, hidden in a gap, commented or damaged does not match, and
no two zip libraries can see different contents in one file. Python's `zipfile` accepts most of these.
"""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.files import require_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_ENTRIES = 100
MAX_CONTAINER_BYTES = 2**32 - 2
"""Offsets are 32 bits wide, and the all-ones value would announce zip64."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LONGEST_NAME = 128

_VERSION = 20  # needed to extract: 2.0
_MADE_BY = 3 << 8 | _VERSION  # unix, so that the permissions below count
_PERMISSIONS = 0o100644 << 16
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00, the first moment a zip can name
_STORED = 0
_FIXED = (_VERSION, 0, _STORED, _TIME, _DATE)  # version needed, flags, method, time, date: as in both headers


class Entry(NamedTuple):
    """One entry as the zip directory gives it; `offset` is that of its local header."""

    name: str
    crc: int
    size: int
    offset: int

    @property
    def end(self) -> int:
        """The offset of the byte behind the entry's data."""
        return self.offset + _LOCAL.size + len(self.name) + self.size


def write_container(stream: BinaryIO, entries: Iterable[tuple[str, bytes]]) -> None:
    """Writes entries (ASCII name, data) in the given order. Raises BundleError where they are too large."""
    directory = write_entries(stream, entries)
    central = b"".join(map(_central_header, directory))
    stream.write(central)
    stream.write(_end_record(len(directory), len(central), directory[-1].end if directory else 0))


def write_entries(stream: BinaryIO, entries: Iterable[tuple[str, bytes]]) -> list[Entry]:
    """Writes what of a container lies before its directory, and gives what the directory says."""
    directory: list[Entry] = []
    offset = 0
    for name, data in entries:
        entry = Entry(name, zlib.crc32(data), len(data), offset)
        offset = entry.end
        if offset > MAX_CONTAINER_BYTES:
            raise BundleError(f"{name} makes the bundle larger than 4 GiB, which the format does not hold.")
        stream.write(_local_header(entry))
        stream.write(data)
        directory.append(entry)
    return directory


def read_directory(stream: BinaryIO, path: str) -> tuple[Entry, ...]:
    """Reads and checks the zip directory, and nothing else, of the open file that messages call `path`.

    The entries lie within the file, do not overlap and have distinct names. Raises BundleError.
    """
    size = stream.seek(0, os.SEEK_END)
    if size == 0:
        raise BundleError(f"{path} is empty; copy it again.")
    stream.seek(max(0, size - _END.size))
    tail = stream.read(_END.size)
    if len(tail) < _END.size or not tail.startswith(b"PK\x05\x06"):
        stream.seek(0)
        if stream.read(4) == b"PK\x03\x04":
            raise BundleError(f"{path} is cut off or has something appended to it; copy it again.")
        raise BundleError(f"{path} is not an edge-adapt bundle, which is a zip that ends in .edge.")
    _, _, _, _, count, length, start, _ = _END.unpack(tail)
    if tail != _end_record(count, length, start) or start + length + _END.size != size:
        raise BundleError(f"{path} has a damaged zip directory; copy it again.")
    if count > MAX_ENTRIES or length > MAX_ENTRIES * (_CENTRAL.size + _LONGEST_NAME):
        raise BundleError(f"{path} has more entries than a bundle can have ({MAX_ENTRIES}).")
    stream.seek(start)
    return _parse_directory(stream.read(length), count, start, path)


def _parse_directory(directory: bytes, count: int, start: int, path: str) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    names: set[str] = set()
    position = offset = 0
    for _ in range(count):
        if position + _CENTRAL.size > len(directory):
            raise BundleError(f"{path} has a damaged zip directory; copy it again.")
        fields = _CENTRAL.unpack_from(directory, position)
        method, crc, compressed, size, name_length = fields[4], *fields[7:11]
        end = position + _CENTRAL.size + name_length
        name = directory[position + _CENTRAL.size : end].decode("ascii", "backslashreplace")
        if not name.isprintable() or name_length > _LONGEST_NAME:
            raise BundleError(f"{path} has an entry whose name is not one of a bundle's.")
        entry = Entry(name, crc, size, fields[16])
        if method != _STORED or compressed != size:
            raise BundleError(
                f"{path}: {name} is compressed, and a bundle's entries are stored as they are; "
                f"take the file as edge-adapt wrote it."
            )
        if directory[position:end] != _central_header(entry):
            raise BundleError(
                f"{path}: the zip directory is damaged at {name}, or another program wrote it; "
                f"take the file as edge-adapt wrote it."
            )
        if name in names:
            raise BundleError(f"{path} has the entry {name} twice.")
        if entry.offset != offset or entry.end > start:
            raise BundleError(f"{path}: {name} overlaps another entry, leaves a gap or goes beyond the end.")
        names.add(name)
        entries.append(entry)
        position, offset = end, entry.end
    if position != len(directory) or offset != start:
        raise BundleError(f"{path} has bytes that belong to no entry.")
    return tuple(entries)


def read_entry(stream: BinaryIO, entry: Entry, path: str, *, check_crc: bool = True) -> bytes:
    """An entry's data; checks its local header and, unless the caller has a better sum, its CRC-32."""
    stream.seek(entry.offset)
    header = _local_header(entry)
    found = stream.read(len(header))
    data = stream.read(entry.size) if found == header else b""
    if len(data) != entry.size or found != header or (check_crc and zlib.crc32(data) != entry.crc):
        raise BundleError(f"{path}: {entry.name} is damaged; copy the file again.")
    return data


def _local_header(entry: Entry) -> bytes:
    name = entry.name.encode("ascii")
    return _LOCAL.pack(b"PK\x03\x04", *_FIXED, entry.crc, entry.size, entry.size, len(name), 0) + name


def _central_header(entry: Entry) -> bytes:
    # The zeros: no extra field, no comment, disk 0, no internal attributes.
    name = entry.name.encode("ascii")
    fixed = (b"PK\x01\x02", _MADE_BY, *_FIXED)
    sizes = (entry.crc, entry.size, entry.size, len(name))
    return _CENTRAL.pack(*fixed, *sizes, 0, 0, 0, 0, _PERMISSIONS, entry.offset) + name


def _end_record(count: int, length: int, start: int) -> bytes:
    return _END.pack(b"PK\x05\x06", 0, 0, count, count, length, start, 0)


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """A file to read from. Raises BundleError where there is none, or something that is no file."""
    try:
        require_file(Path(path).stat().st_mode)
        with Path(path).open("rb") as stream:
            yield stream
    except FileNotFoundError as error:
        raise BundleError(f"{path} does not exist; check its name.") from error
    except OSError as error:
        if Path(path).is_dir():
            raise BundleError(f"{path} is a folder, and a bundle is a file that ends in .edge.") from error
        raise BundleError(f"{path} cannot be read ({error.strerror or error}).") from error
