"""Concatenated JPEG files, apart again.

A JPEG ends where its own structure says so (ITU T.81, annex B): segments carry their lengths and are stepped over, so that the
thumbnail inside one, a whole JPEG itself, ends nothing, and only the entropy-coded data after SOS are searched for a marker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BufferedIOBase
from itertools import count

from edge_adapt.runtime.errors import ImageError

MAX_JPEG_BYTES = 64 * 1024 * 1024
MAX_BETWEEN = 1024 * 1024
"""Bytes between two JPEGs, such as the headers of a stream over HTTP; after more of them there is no JPEG to come."""

_READ = 64 * 1024
_START = b"\xff\xd8\xff"
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # markers without a segment
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # in entropy-coded data: neither a stuffed FF nor a restart marker


def jpegs(stream: BufferedIOBase) -> Iterator[bytes]:
    """The JPEGs of a stream, each as soon as its last byte is there.

    One whose structure is damaged ends where the damage is, for the decoder to name, and the next one is looked for from there.

    Raises:
        ImageError: the stream ends within a JPEG, holds one of more than `MAX_JPEG_BYTES`, or anything else than JPEGs.
    """
    coming = _Coming(stream)
    for number in count(1):
        name = f"frame {number}"
        if not coming.skip_to_start(name):
            return
        yield coming.take(coming.end(name))


class _Coming:
    """What a stream has given and nobody has taken yet."""

    def __init__(self, stream: BufferedIOBase) -> None:
        self._stream = stream
        self._data = bytearray()

    def take(self, length: int) -> bytes:
        taken = bytes(self._data[:length])
        del self._data[:length]
        return taken

    def skip_to_start(self, name: str) -> bool:
        """Drop what lies before the next JPEG; False where none comes."""
        skipped = 0
        while (at := self._data.find(_START)) < 0:
            skipped += len(self.take(max(len(self._data) - len(_START) + 1, 0)))
            if skipped > MAX_BETWEEN:
                raise ImageError("standard input is not a stream of JPEGs; pass the --frames that it is.")
            if not self._more():
                if self._data.endswith((_START[:1], _START[:2])):
                    raise _cut_short(name)
                return False
        del self._data[:at]
        return True

    def end(self, name: str) -> int:
        """Where the JPEG at the beginning ends."""
        at = 2
        while True:
            self._reach(at + 2, name)
            marker, code = self._data[at], self._data[at + 1]
            if marker != 0xFF or code == _SOI:  # damaged, or the rest of it was lost and the next one begins
                return at
            if code == 0xFF:  # fill
                at += 1
                continue
            at += 2
            if code == _EOI:
                return at
            if code in _ALONE:
                continue
            self._reach(at + 2, name)
            at += int.from_bytes(self._data[at : at + 2], "big")
            if code == _SOS:
                at = self._end_of_scan(at, name)

    def _end_of_scan(self, at: int, name: str) -> int:
        self._reach(at, name)
        while (marker := _MARKER.search(self._data, at)) is None:
            at = max(at, len(self._data) - 1)  # its last byte may be half a marker
            self._reach(len(self._data) + 1, name)
        return marker.start()

    def _reach(self, length: int, name: str) -> None:
        if length > MAX_JPEG_BYTES:
            raise ImageError(f"{name} is larger than a JPEG in a stream may be ({MAX_JPEG_BYTES >> 20} MiB).")
        while len(self._data) < length:
            if not self._more():
                raise _cut_short(name)

    def _more(self) -> bool:
        more = self._stream.read1(_READ)
        self._data += more
        return bool(more)


def _cut_short(name: str) -> ImageError:
    return ImageError(f"{name} is cut short: standard input ended within it.")
