"""Damaged and hostile files: one sentence that names the file, never another exception, never a wrong content."""

from __future__ import annotations

import errno
import io
import itertools
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.bundle import container
from edge_adapt.runtime.bundle.bundle import GRAPHS, MAX_BYTES, Bundle, write_bundle
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.files import locked
from tests import bundle_samples as samples
from tests.bundle_samples import refusal, refusal_of

GOLDEN = samples.GOLDEN_CLASSIFIER.read_bytes()
ENTRIES = samples.read_zip(samples.GOLDEN_CLASSIFIER)


def test_the_samples_are_sound(file: Path) -> None:
    """The tests below change one thing in this file, so without a change it must pass."""
    assert samples.zip_bytes(ENTRIES) == GOLDEN
    file.write_bytes(GOLDEN)
    Bundle.open(file).verify()


# Damage


@pytest.mark.parametrize("entry", samples.ENTRIES_OF_CLASSIFIER)
def test_a_flipped_byte_in_an_entry_names_it(file: Path, entry: str) -> None:
    start = GOLDEN.index(ENTRIES[entry])
    size = len(ENTRIES[entry])
    for position in {start, start + size // 3, start + size // 2, start + size - 1}:
        damaged = bytearray(GOLDEN)
        damaged[position] ^= 0x10
        assert refusal(file, bytes(damaged)) == f": {entry} is damaged; copy the file again."


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_flipped_byte_in_a_graph_is_noticed_where_only_the_graph_is_read(file: Path, graph: str) -> None:
    damaged = bytearray(GOLDEN)
    damaged[GOLDEN.index(ENTRIES[graph]) + 5] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(BundleError, match=f"{graph} does not match its SHA-256; copy the file again"):
        Bundle.open(file).graph(graph)


@given(position=st.integers(0, len(GOLDEN) - 1), flip=st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_any_changed_byte_is_noticed(file: Path, position: int, flip: int) -> None:
    """Not only in the data: each byte of the zip's own records has one permitted value."""
    damaged = bytearray(GOLDEN)
    damaged[position] ^= flip
    refusal(file, bytes(damaged))


@given(start=st.integers(0, len(GOLDEN)), length=st.integers(1, 60), data=st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_replaced_stretch_is_noticed(file: Path, start: int, length: int, data: bytes) -> None:
    damaged = GOLDEN[:start] + data + GOLDEN[start + length :]
    if damaged != GOLDEN:
        refusal(file, damaged)


def test_a_file_cut_off_anywhere_is_refused(file: Path) -> None:
    for length in itertools.chain(range(0, 64), range(64, len(GOLDEN), 41), range(len(GOLDEN) - 64, len(GOLDEN))):
        message = refusal(file, GOLDEN[:length])
        assert ("is empty" if length == 0 else "is not an edge-adapt" if length < 4 else "is cut off") in message


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_refused(file: Path, data: bytes) -> None:
    refusal(file, data)


@given(data=st.binary(max_size=200), count=st.integers(0, 3), start=st.integers(0, 250))
@settings(max_examples=100, deadline=None)
def test_random_bytes_with_an_end_record_are_refused(file: Path, data: bytes, count: int, start: int) -> None:
    start = min(start, len(data))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(data) - start, start, 0)
    refusal(file, data + end)


# The file


def test_what_is_no_bundle(file: Path, tmp_path: Path) -> None:
    assert "is not an edge-adapt bundle" in refusal(file, b"hello, world " * 10)
    assert "is not an edge-adapt bundle" in refusal(file, samples.zip_bytes({}))
    assert "is not an edge-adapt bundle" in refusal(file, samples.zip_bytes({"photo.jpg": b"x"}))
    assert "appended" in refusal(file, GOLDEN + b"\0")
    with pytest.raises(BundleError, match=r"nothing\.edge does not exist; check its name\."):
        Bundle.open(tmp_path / "nothing.edge")
    with pytest.raises(BundleError, match=r"is a folder, and a bundle is a file that ends in \.edge\."):
        Bundle.open(tmp_path)


def test_a_file_that_may_not_be_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    file.write_bytes(GOLDEN)
    monkeypatch.setattr(Path, "open", refuse)  # root may read anything, so the refusal is staged
    with pytest.raises(BundleError, match=r"mine\.edge cannot be read \(Permission denied\)\."):
        Bundle.open(file)


# The zip


def rezipped(compression: int, **attributes: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in ENTRIES.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, data, compression)
    return stream.getvalue()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries_are_refused_unread(file: Path, compression: int) -> None:
    assert "manifest.json is compressed" in refusal(file, rezipped(compression))


def test_a_zip_bomb_is_refused_unread(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", bytes(50_000_000))
    monkeypatch.setattr("edge_adapt.runtime.bundle.bundle.read_entry", None)  # to read any entry would be a TypeError
    assert "manifest.json is compressed" in refusal(file, stream.getvalue())


@pytest.mark.parametrize(
    "attributes",
    [
        {"date_time": (2024, 5, 6, 7, 8, 10)},
        {"create_system": 0},
        {"external_attr": 0o120777 << 16},  # a symbolic link
        {"comment": b"hello"},
        {"extra": b"\xfe\xca\x02\x00hi"},
        {"internal_attr": 1},
        {"create_version": 45},
    ],
)
def test_no_field_of_the_zip_is_free(file: Path, attributes: dict[str, Any]) -> None:
    assert "manifest.json" in refusal(file, rezipped(zipfile.ZIP_STORED, **attributes))


def test_missing_unknown_doubled_and_misplaced_entries(file: Path) -> None:
    for name in samples.ENTRIES_OF_CLASSIFIER[1:]:
        missing = {key: data for key, data in ENTRIES.items() if key != name}
        assert f"lacks {name}" in refusal_of(file, missing)
    for name in (
        "notes.txt",
        "../evil.onnx",
        "/etc/passwd",
        "C:\\evil",
        "head/other.npy",
        "head/weight.npy/",
        "HEAD/x",
    ):
        assert "which is not one of a bundle's" in refusal_of(file, ENTRIES | {name: b"x"})
    assert "whose name is not one of a bundle's" in refusal_of(file, ENTRIES | {"a\x1b[2J": b"x"})
    assert "whose name is not one of a bundle's" in refusal_of(file, ENTRIES | {"n" * 200: b"x"})
    swapped = dict(sorted(ENTRIES.items(), key=lambda item: (item[0] != "manifest.json", item[0])))
    assert "out of order" in refusal_of(file, swapped)
    assert "not its first entry" in refusal_of(file, dict(reversed(ENTRIES.items())))
    assert "more entries" in refusal_of(file, ENTRIES | {f"{index}": b"" for index in range(200)})
    for name in samples.ENTRIES_OF_CLASSIFIER:
        stream = io.BytesIO()
        container.write_container(stream, [*ENTRIES.items(), (name, ENTRIES[name])])
        assert f"has the entry {name} twice" in refusal(file, stream.getvalue())


def directory_with(change: Callable[[list[container.Entry]], list[container.Entry]]) -> bytes:
    """The sound file with another zip directory, each record of which is well formed."""
    entries: list[container.Entry] = []
    offset = 0
    for name, data in ENTRIES.items():
        entries.append(container.Entry(name, zlib.crc32(data), len(data), offset))
        offset = entries[-1].end
    records = b"".join(
        struct.pack(
            "<4s6H3I5H2I", b"PK\x01\x02", 3 << 8 | 20, 20, 0, 0, 0, 33, entry.crc, entry.size, entry.size,
            len(entry.name), 0, 0, 0, 0, 0o100644 << 16, entry.offset,
        )
        + entry.name.encode()
        for entry in change(entries)
    )  # fmt: skip
    count = len(ENTRIES)
    return (
        GOLDEN[:offset] + records + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(records), offset, 0)
    )


def replaced(entries: list[container.Entry], index: int, **changes: int) -> list[container.Entry]:
    values = {"crc": entries[index].crc, "size": entries[index].size, "offset": entries[index].offset} | changes
    return [*entries[:index], container.Entry(entries[index].name, **values), *entries[index + 1 :]]


def test_overlapping_and_outlying_entries(file: Path) -> None:
    assert directory_with(lambda entries: entries) == GOLDEN
    for changes in (
        {"offset": 0},  # lies over the manifest: one stretch of the file counted many times
        {"size": 2**32 - 1},
        {"size": 2**31},
        {"size": 0},
        {"offset": 2**32 - 1},
        {"offset": len(GOLDEN)},
    ):
        data = directory_with(lambda entries, changes=changes: replaced(entries, 2, **changes))  # type: ignore[misc]
        assert "overlaps another entry, leaves a gap or goes beyond the end" in refusal(file, data)


def test_a_local_header_must_say_what_the_directory_says(file: Path) -> None:
    """Else a reader that walks local headers would see another file."""
    for offset in (14, 18, 26, 30):  # CRC, size, length of the name, the name
        damaged = bytearray(GOLDEN)
        damaged[offset] ^= 1
        assert ": manifest.json is damaged" in refusal(file, bytes(damaged))


def test_sizes_are_bounded_before_anything_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("manifest.json", "adapt.onnx", "classifier.json"):
        with monkeypatch.context() as patch:
            patch.setitem(MAX_BYTES, name, len(ENTRIES[name]) - 1)
            assert f"{name} has {len(ENTRIES[name])} bytes, and the format allows" in refusal(file, GOLDEN)


# Saving


def test_a_full_disk_while_saving_leaves_the_old_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mine.edge"
    path.write_bytes(GOLDEN)

    def full(_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgeAdaptError, match=r"mine\.edge could not be saved because the disk is full"):
        write_bundle(path, samples.manifest(), samples.GRAPHS)
    assert path.read_bytes() == GOLDEN
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.edge"]


def test_saving_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match="does not exist; create it first"):
        write_bundle(tmp_path / "nowhere" / "a.edge", samples.manifest(), samples.GRAPHS)
    with pytest.raises(EdgeAdaptError, match="it is a folder"):
        write_bundle(tmp_path, samples.manifest(), samples.GRAPHS)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.edge")
    with pytest.raises(BundleError, match=r"a\.edge cannot be read \(it is a device or a pipe\)"):
        Bundle.open(tmp_path / "a.edge")
    with (
        pytest.raises(EdgeAdaptError, match=r"a\.edge cannot be opened \(it is a device or a pipe\)"),
        locked(tmp_path / "a.edge"),
    ):
        pass
