"""A bundle that is damaged, hostile or another than is needed ends in one sentence, and the user's files stay as they were."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import complaint, forge, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY

CLASSIFIER_ENTRIES = (
    "manifest.json",
    "embed.onnx",
    "adapt.onnx",
    "predict.onnx",
    "classifier.json",
    "head/weight.npy",
    "head/bias.npy",
    "support/features.npy",
    "support/targets.npy",
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", {"red": 2, "green": 2})


def flip(path: Path, entry: str) -> None:
    """Flip a bit in the middle of an entry's bytes."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(entry)
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename.encode())
    data[start + info.file_size // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("entry", CLASSIFIER_ENTRIES)
def test_a_flipped_byte_in_each_entry_is_found_by_info(mine: Path, tmp_path: Path, entry: str) -> None:
    path = tmp_path / "flipped.edge"
    path.write_bytes(mine.read_bytes())
    flip(path, entry)
    assert entry in complaint(command("info", path))


@pytest.mark.parametrize(
    "entry", sorted(set(CLASSIFIER_ENTRIES) - {"adapt.onnx", "support/features.npy", "support/targets.npy"})
)
def test_a_flipped_byte_in_what_classify_uses_is_found_by_classify(
    mine: Path, photos: Path, tmp_path: Path, entry: str
) -> None:
    path = tmp_path / "flipped.edge"
    path.write_bytes(mine.read_bytes())
    flip(path, entry)
    result = command("classify", path, photos)
    assert entry in complaint(result)
    assert result.stdout == ""


@pytest.mark.parametrize("part", [0, 1, 100, 0.3, 0.9, 0.999])
def test_a_bundle_cut_off(mine: Path, photos: Path, tmp_path: Path, part: float) -> None:
    data = mine.read_bytes()
    path = tmp_path / "cut.edge"
    path.write_bytes(data[: int(part * len(data)) if 0 < part < 1 else int(part)])
    assert str(path) in complaint(command("classify", path, photos))
    assert str(path) in complaint(command("info", path))


def test_a_bundle_of_another_version(photos: Path, tmp_path: Path) -> None:
    path = forge(
        TINY,
        tmp_path / "new.edge",
        "manifest.json",
        lambda data: data.replace(b'"format_version":1', b'"format_version":9'),
    )
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", path))
    assert "version 9" in sentence
    assert "update" in sentence


def chunk(field: int, *parts: bytes) -> bytes:
    """A length-delimited protobuf field, shorter than 128 bytes."""
    payload = b"".join(parts)
    return bytes([field << 3 | 2, len(payload)]) + payload


def with_external_data(_: bytes) -> bytes:
    """A ModelProto whose one tensor lies in another file, /etc/passwd."""
    location = chunk(13, chunk(1, b"location"), chunk(2, b"/etc/passwd"))
    tensor = b"\x08\x01\x10\x01" + chunk(8, b"w") + location + bytes([14 << 3, 1])
    node = chunk(1, chunk(1, b"w"), chunk(2, b"features"), chunk(4, b"Identity"))
    return b"\x08\x08" + chunk(7, node, chunk(5, tensor)) + chunk(8, chunk(1), b"\x10\x12")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (with_external_data, "embed.onnx"),
        (lambda data: data.replace(b"AveragePool", b"StringSplit"), "StringSplit"),
    ],
)
def test_a_graph_that_a_device_must_not_run(
    photos: Path, tmp_path: Path, change: Callable[[bytes], bytes], named: str
) -> None:
    path = forge(TINY, tmp_path / "hostile.edge", "embed.onnx", change)
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", path))
    assert "embed.onnx" in sentence
    assert named in sentence
    assert not (tmp_path / "mine.edge").exists()
    assert "embed.onnx" in complaint(command("info", path))


def test_a_graph_that_computes_something_else_fails_its_self_check(tmp_path: Path) -> None:
    """A well-formed graph with another number in it, and a SHA-256 that fits: only the golden vectors tell."""
    scale = np.array(255, np.float32).tobytes()
    path = forge(
        TINY,
        tmp_path / "other.edge",
        "embed.onnx",
        lambda data: data.replace(scale, np.array(250, np.float32).tobytes()),
    )
    assert "golden features" in complaint(command("info", path))


def test_a_classifier_where_a_model_is_needed_and_the_reverse(mine: Path, photos: Path, tmp_path: Path) -> None:
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", mine))
    assert "adapted classifier" in sentence
    assert not (tmp_path / "mine.edge").exists()
    sentence = complaint(command("classify", TINY, photos))
    assert "meta-model" in sentence
    assert "edge-adapt adapt" in sentence


def test_a_folder_or_a_picture_where_a_bundle_is_needed(photos: Path) -> None:
    assert "folder" in complaint(command("classify", photos, photos))
    assert "not an edge-adapt bundle" in complaint(command("info", photos / "red" / "0.png"))


def test_a_nan_in_a_head(mine: Path, photos: Path, tmp_path: Path) -> None:
    def poison(data: bytes) -> bytes:
        return data[:-4] + np.array(np.nan, np.float32).tobytes()

    path = forge(mine, tmp_path / "nan.edge", "head/weight.npy", poison)
    assert "head/weight.npy" in complaint(command("classify", path, photos))
