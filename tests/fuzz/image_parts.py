"""Image files as lists of parts, and lists of parts as image files with lengths and checksums that are right."""

from __future__ import annotations

import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Part(NamedTuple):
    """A chunk, segment, block, box or field of an image file.

    Attributes:
        kind: how the format names it; empty for what has no name.
        body: its bytes, without name, length and checksum.
    """

    kind: bytes
    body: bytes


class Layout(NamedTuple):
    """How a format cuts its files, and puts them together."""

    split: Callable[[bytes], list[Part]]
    join: Callable[[list[Part]], bytes]


def _split_jpeg(data: bytes) -> list[Part]:
    """Segments, and without a kind the coded pixels after one."""
    parts, at = [Part(b"\xd8", b"")], 2
    while at < len(data):
        kind, length = data[at + 1 : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == b"\xd9":
            return [*parts, Part(kind, b"")]
        parts.append(Part(kind, data[at + 4 : at + 2 + length]))
        at += 2 + length
        if kind == b"\xda":
            found = re.compile(rb"\xff[\x01-\xcf\xd8-\xff]").search(data, at)
            end = found.start() if found else len(data)
            parts.append(Part(b"", data[at:end]))
            at = end
    return parts


def _join_jpeg(parts: list[Part]) -> bytes:
    return b"".join(
        body if not kind
        else b"\xff" + kind if kind in (b"\xd8", b"\xd9")
        else b"\xff" + kind + struct.pack(">H", min(len(body) + 2, 65_535)) + body[:65_533]
        for kind, body in parts
    )  # fmt: skip


_PNG = b"\x89PNG\r\n\x1a\n"


def _split_png(data: bytes) -> list[Part]:
    parts, at = [], len(_PNG)
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        parts.append(Part(data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def _join_png(parts: list[Part]) -> bytes:
    chunks = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )
    return _PNG + b"".join(chunks)


def _split_webp(data: bytes) -> list[Part]:
    parts, at = [], 12
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        parts.append(Part(data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


def _join_webp(parts: list[Part]) -> bytes:
    chunks = (kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) for kind, body in parts)
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _split_gif(data: bytes) -> list[Part]:
    """Header, colour tables, extensions, image descriptors and coded pixels."""

    def table(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    def blocks(at: int) -> int:
        while data[at]:
            at += 1 + data[at]
        return at + 1

    parts, at = [Part(b"", data[:13]), Part(b"", data[13 : 13 + table(data[10])])], 13 + table(data[10])
    while data[at : at + 1] in (b"!", b","):
        if data[at : at + 1] == b"!":
            end = blocks(at + 2)
            parts.append(Part(data[at : at + 2], data[at + 2 : end]))
        else:
            colours = at + 10 + table(data[at + 9])
            end = blocks(colours + 1)
            parts += [
                Part(b",", data[at + 1 : at + 10]),
                Part(b"", data[at + 10 : colours]),
                Part(b"", data[colours:end]),
            ]
        at = end
    return [*parts, Part(b";", b"")]


def _split_bmp(data: bytes) -> list[Part]:
    """The two headers, the colour table and the pixels."""
    header, pixels = 14 + int.from_bytes(data[14:18], "little"), int.from_bytes(data[10:14], "little")
    return [Part(b"", data[start:end]) for start, end in itertools.pairwise((0, 14, header, pixels, len(data)))]


def _split_ppm(data: bytes) -> list[Part]:
    """The fields of the header, each with the blank after it, and the pixels."""
    parts, at = [], 0
    for _ in range(3 if data[1:2] in b"14" else 4):
        end = at + len(re.compile(rb"\S+\s").match(data, at)[0])  # type: ignore[index]
        parts.append(Part(b"", data[at:end]))
        at = end
    return [*parts, Part(b"", data[at:])]


def _concatenated(parts: Iterable[Part]) -> bytes:
    return b"".join(kind + body for kind, body in parts)


def _split_tiff(data: bytes) -> list[Part]:
    """All of the file without a kind, and the entries of its first directory, whose kind is the tag."""
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    starts = range(at + 2, at + 2 + 12 * entries, 12)
    return [Part(b"", data), *(Part(data[start : start + 2], data[start + 2 : start + 12]) for start in starts)]


def _join_tiff(parts: list[Part]) -> bytes:
    """The directory comes last, so that what entries point to lies where it lay."""
    data = b"".join(body for kind, body in parts if not kind)
    entries = [kind + body[:10].ljust(10, b"\0") for kind, body in parts if kind]
    directory = struct.pack("<H", len(entries) & 0xFFFF) + b"".join(entries) + bytes(4)
    return data[:4] + struct.pack("<I", max(8, len(data))) + data[8:] + directory


_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}
"""Boxes that hold others, and the bytes before these."""


def _split_boxes(data: bytes) -> list[Part]:
    """Boxes that hold no others; the kind is the names of all boxes that hold one, and its own."""
    return list(_boxes(data, b""))


def _boxes(data: bytes, within: bytes) -> Iterator[Part]:
    at = 0
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big") or len(data) - at, data[at + 4 : at + 8]
        body = data[at + 8 : at + length]
        if kind in _CONTAINERS:
            yield from _boxes(body[_CONTAINERS[kind] :], within + kind)
        else:
            yield Part(within + kind, body)
        at += length


def _join_boxes(parts: list[Part]) -> bytes:
    boxes = []
    for kind, members in itertools.groupby(parts, lambda part: part.kind[:4]):
        if kind in _CONTAINERS:
            boxes.append(
                (kind, bytes(_CONTAINERS[kind]) + _join_boxes([Part(name[4:], body) for name, body in members]))
            )
        else:
            boxes += [(kind, body) for _, body in members]
    return b"".join(struct.pack(">I", 8 + len(body)) + kind + body for kind, body in boxes)


LAYOUTS = {
    "JPEG": Layout(_split_jpeg, _join_jpeg),
    "PNG": Layout(_split_png, _join_png),
    "WEBP": Layout(_split_webp, _join_webp),
    "GIF": Layout(_split_gif, _concatenated),
    "BMP": Layout(_split_bmp, _concatenated),
    "TIFF": Layout(_split_tiff, _join_tiff),
    "PPM": Layout(_split_ppm, _concatenated),
    "AVIF": Layout(_split_boxes, _join_boxes),
    "HEIF": Layout(_split_boxes, _join_boxes),
}
