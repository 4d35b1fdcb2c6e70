"""Hostile zips of images by the thousand: python -m tests.fuzz.archives [--count 2000] [--seed 0] [--keep FOLDER]

Each is a zip of two classes in whose records a few things are changed: names that lead elsewhere, steer a terminal or are there
twice, sizes, checksums, offsets, methods and flags that lie, folders in folders, bombs, thousands of entries; some bytes are
damaged and some files cut. Each must be read, by `load_dataset` and by `adapt`, or refused in one sentence, by a process that
then holds at most 256 MiB more than before.
"""

from __future__ import annotations

import functools
import random
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

import edge_adapt
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.conftest import TINY
from tests.encoded_images import encode
from tests.fuzz.attempts import Fuzzer, damaged, run
from tests.tiny_model import photos

_MOST_ENTRIES = 10_000
_STORED, _DEFLATED = 0, 8
_METHODS = (_STORED, _DEFLATED, 1, 6, 9, 12, 14, 93, 95, 99, 0xFFFF)
_FLAGS = (0x1, 0x8, 0x20, 0x40, 0x800, 0x2000, 0xFFFF)
_SIZES = (0, 1, 100, 70_000, 2**24, 128 * 2**20, 2**31 - 1, 2**31, 2**32 - 1)
_NAMES = (
    *(b"", b"/", b"//", b"..", b"../../a/1.png", b"/etc/a/1.png", b"C:\\a\\1.png", b"a/../b/1.png", b"./a/1.png"),
    *(b"a\x1b[31m/1.png", b"a\nb/1.png", b"a/1\x00.png", b"a/1.png\0.txt", "a\u202egnp.exe/1.png".encode()),
    *("Caf\u00e9/1.png".encode(), "Cafe\u0301/1.png".encode(), b"\xff\xfe/1.png", b"\xed\xa0\x80/1.png", b"a" * 60_000),
    *(b"a" * 60_000 + b"/1.png", b"a/" * 90 + b"1.png", b"a/" * 30_000 + b"1.png", b"a; b/1.png", b"1.png", b"a", b"a/"),
    *(b"__MACOSX/a/1.png", b".a/1.png", b"a/.1.png", b"a/CON.png", b"a/1.heic", b"a/1.svg", b"a/1.zip", b"other/1.png"),
)  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A file in a zip, as its records tell it; what is None in the directory is as in front of the content."""

    name: bytes
    content: bytes
    size: int
    crc: int
    method: int = _STORED
    flags: int = 0
    extra: bytes = b""
    compressed: int | None = None
    offset: int | None = None
    name_in_front: bytes | None = None


def zip_of(entries: list[Entry], comment: bytes = b"", count: int | None = None) -> bytes:
    """A zip with these records, true or not."""
    fronts, records, at = [], [], 0
    for entry in entries:
        compressed = len(entry.content) if entry.compressed is None else entry.compressed
        about = struct.pack("<HHHHIII", entry.flags, entry.method, 0, 33, entry.crc, compressed, entry.size)
        name, front_name = (
            entry.name[:65_535],
            (entry.name if entry.name_in_front is None else entry.name_in_front)[:65_535],
        )
        lengths = struct.pack("<HH", len(front_name), len(entry.extra))
        fronts.append(b"PK\3\4" + struct.pack("<H", 20) + about + lengths + front_name + entry.extra + entry.content)
        offset = at if entry.offset is None else entry.offset
        tail = struct.pack("<HHHHHII", len(name), len(entry.extra), 0, 0, 0, 0, offset)
        records.append(b"PK\1\2" + struct.pack("<HH", 20, 20) + about + tail + name + entry.extra)
        at += len(fronts[-1])
    directory = b"".join(records)
    said = min(len(records), 65_535) if count is None else count
    end = struct.pack("<HHHHIIH", 0, 0, said, said, len(directory), at, len(comment))
    return b"".join(fronts) + directory + b"PK\5\6" + end + comment


def entry(name: str, content: bytes, deflated: bool = False) -> Entry:
    """One whose records are true."""
    coded = zlib.compressobj(6, zlib.DEFLATED, -15)
    stored = coded.compress(content) + coded.flush() if deflated else content
    return Entry(name.encode(), stored, len(content), zlib.crc32(content), _DEFLATED if deflated else _STORED)


def sound_entries() -> list[Entry]:
    """Two classes of three images."""
    return [
        entry(f"photos/{label}/{index}.png", encode(Image.fromarray(pixels), "PNG"), deflated=index > 0)
        for label, images in photos({"a": 3, "b": 3}).items()
        for index, pixels in enumerate(images)
    ]


def hostile(choose: random.Random) -> bytes:
    """The bytes of a zip that is sound but for one to three changes."""
    entries, comment, count = sound_entries(), b"", None
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        at = choose.randrange(len(entries))
        change = choose.randrange(16)
        if change < 12:
            entries[at] = _changed(entries[at], choose)
        elif change == 12:
            entries = (entries * choose.choice((2, 2, 1000)))[:_MOST_ENTRIES]
        elif change == 13:
            folder = choose.choice(("a/", "x{}/", "x/{}/", "x{}/" * 40))
            entries += [entry(folder.format(*[i] * 40) + f"{i}.png", b"") for i in range(choose.choice((3, 3000)))]
        elif change == 14:
            comment, count = (
                damaged(b"PK\5\6" * 10, choose) * choose.choice((1, 1000)),
                choose.choice((None, 0, 1, 65_535)),
            )
        else:
            del entries[at]
            entries = entries or sound_entries()
    data = zip_of(entries, comment[:65_535], count)
    for _ in range(choose.choice((0, 0, 0, 0, 0, 1, 3))):
        data = damaged(data, choose)
    return data[: choose.randrange(len(data) + 1)] if choose.random() < 0.05 else data


def _changed(one: Entry, choose: random.Random) -> Entry:
    """An entry with another name, or of which something else is a lie."""
    change = choose.randrange(9)
    if change <= 2:
        name = choose.choice(_NAMES) if choose.random() < 0.8 else damaged(one.name, choose)
        flags = choose.choice((0, 0x800))
        return replace(one, name=name, flags=flags, name_in_front=choose.choice((None, None, b"", one.name)))
    if change == 3:
        size = choose.choice((*_SIZES, one.size + 1, one.size - 1))
        return replace(one, size=size) if choose.random() < 0.5 else replace(one, compressed=size)
    if change == 4:
        return replace(
            one, crc=one.crc ^ 1 << choose.randrange(32), offset=choose.choice((None, 0, 1, 2**31, 2**32 - 1))
        )
    if change == 5:
        return replace(one, method=choose.choice(_METHODS))
    if change == 6:
        return replace(one, flags=choose.choice(_FLAGS))
    if change == 7:
        content = _bomb(choose.choice((2**20, 2**24, 2**27)))
        return replace(
            one, content=content, method=_DEFLATED, size=choose.choice((one.size, 2**20, 2**24, 2**27, 2**32 - 1))
        )
    fields = choose.choice((b"", bytes(40), struct.pack("<QQQ", *choose.choices((0, 1, 2**40, 2**63, 2**64 - 1), k=3))))
    unicode_path = b"\0" + bytes(4) + choose.choice(_NAMES)[:300]
    kind, body = choose.choice(((1, fields), (0x7075, unicode_path), (0xFFFF, fields)))
    extra = struct.pack("<HH", kind, choose.choice((len(body), 0, 65_535))) + body
    return replace(one, extra=extra, size=choose.choice((one.size, 2**32 - 1)))


@functools.cache
def _bomb(length: int) -> bytes:
    """So many zeros, deflated."""
    return entry("", bytes(length), deflated=True).content


def read(file: Path) -> str:
    """`load_dataset` of one."""
    edge_adapt.load_dataset(file, Preprocessing(8, 8, 3))
    return "read"


def adapt(file: Path) -> str:
    """`adapt` to one."""
    edge_adapt.adapt(file, model=TINY, provider="cpu")
    return "adapted"


def fuzzers() -> dict[str, Fuzzer]:
    """One for each use."""
    return {use.__name__: Fuzzer(".zip", hostile, use, most=256, above_idle=True) for use in (read, adapt)}


if __name__ == "__main__":
    run(__doc__ or "", 2000, fuzzers())
