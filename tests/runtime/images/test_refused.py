"""What is no image, or cannot be read as one, is named."""

from __future__ import annotations

import io
import os
import struct
import sys
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.decoding import MAX_PIXELS
from edge_adapt.runtime.images.images import load_image
from tests.encoded_images import FORMATS, encode, random_pixels


def png_that_claims(width: int, height: int) -> bytes:
    """A grey PNG whose header is whole and whose pixels are missing."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + zlib.compress(b""))


def refusal(source: Any, name: str = "") -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, name)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "missing.jpg"
    assert str(path) in refusal(path) and "does not exist" in refusal(path)


def test_a_folder(tmp_path: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path) and "is a folder" in refusal(tmp_path)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    path = tmp_path / "locked.jpg"
    path.touch()
    monkeypatch.setattr(Path, "open", denied)  # root, who runs many a test, is denied nothing
    assert str(path) in refusal(path) and "permission denied" in refusal(path)


def test_a_path_that_cannot_be() -> None:
    assert "cannot be read" in refusal("a\0b.jpg")


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.jpg"
    path.touch()
    assert str(path) in refusal(path) and "is empty" in refusal(path)
    assert "x.png is empty" in refusal(b"", "x.png")


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_adapt.runtime.images.images.MAX_ENCODED_BYTES", 99)
    path = tmp_path / "large.png"
    path.write_bytes(bytes(100))
    assert str(path) in refusal(path) and "larger" in refusal(path)


def test_a_text_file_named_jpg(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("Buy milk.")
    assert f"{path} is not an image" in refusal(path)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=80, deadline=None)
@given(st.sampled_from(FORMATS), st.floats(0, 1, exclude_max=True), st.booleans())
def test_a_truncated_file_is_never_half_an_image(file_format: str, fraction: float, progressive: bool) -> None:
    options = {"progressive": progressive} if file_format == "JPEG" else {}
    data = encode(Image.fromarray(random_pixels((24, 20, 3))), file_format, **options)
    whole = np.asarray(load_image(data).image)
    try:
        part = load_image(data[: int(len(data) * fraction)], "part")
    except ImageError as error:
        assert "part" in str(error)
    else:  # only bytes after the last pixel are missing
        np.testing.assert_array_equal(np.asarray(part.image), whole)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_a_truncated_file(tmp_path: Path, file_format: str) -> None:
    path = tmp_path / "cut"
    data = encode(Image.fromarray(random_pixels((24, 20, 3))), file_format)
    path.write_bytes(data[: len(data) // 2])
    assert f"{path} cannot be decoded" in refusal(path) and "cut short or damaged" in refusal(path)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4),
)
def test_a_damaged_file_raises_nothing_but_image_error(file_format: str, flips: list[tuple[float, int]]) -> None:
    data = bytearray(encode(Image.fromarray(random_pixels((9, 7, 3))), file_format))
    for position, flip in flips:
        # Half of the flips go to the first bytes, where the structure is.
        index = int(position * 2 * 64) if position < 0.5 else int((position - 0.5) * 2 * (len(data) - 1))
        data[min(index, len(data) - 1)] ^= flip
    try:
        loaded = load_image(bytes(data))
    except ImageError:
        return
    assert loaded.image.mode in ("L", "RGB", "RGBA")


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"hevc", b"mif1", b"msf1"])
def test_an_iphone_photo_where_nothing_reads_it(tmp_path: Path, brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    path = tmp_path / "IMG_0001.jpg"  # whatever its name
    path.write_bytes(b"\0\0\0\x24ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100))
    message = refusal(path)
    assert str(path) in message and "HEIC" in message and "JPEG" in message and "Most Compatible" in message
    assert 'pip install "edge-adapt[heic]"' in message


@pytest.mark.parametrize("brand", [b"avif", b"mif1"])
def test_an_avif_image_where_nothing_reads_it(brand: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", None)  # a Pillow older than 11.3
    message = refusal(b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0avifmif1miaf" + bytes(100), "a.avif")
    assert "a.avif is an AVIF" in message and "Pillow 11.3" in message and "JPEG" in message
    monkeypatch.setitem(sys.modules, "PIL.AvifImagePlugin", SimpleNamespace(SUPPORTED=False))  # one without libavif
    assert refusal(b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0avifmif1miaf" + bytes(100), "a.avif") == message


def test_a_decompression_bomb() -> None:
    message = refusal(png_that_claims(60_000, 60_000), "bomb.png")
    assert "bomb.png has 60000 x 60000 pixels" in message and f"{MAX_PIXELS:,}" in message
    assert "70000 x 1" in refusal(png_that_claims(70_000, 1))


def test_a_large_image_is_no_reason_for_a_warning() -> None:
    data = png_that_claims(10_000, 10_000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        refusal(data)
    assert not caught


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 3), np.int64),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_an_array_that_is_no_image(array: npt.NDArray[Any]) -> None:
    message = refusal(array, "frame")
    assert f"frame is an array of {array.dtype} {list(array.shape)}" in message and "uint8 [H, W]" in message


def test_an_image_without_pixels() -> None:
    assert "0 x 5 pixels" in refusal(Image.new("RGB", (0, 5)))


def test_what_is_no_image_at_all() -> None:
    assert "is of type list" in refusal([[1, 2], [3, 4]])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(ImageError, match=r"photo\.jpg is a device or a pipe"):
        load_image(tmp_path / "photo.jpg")


@pytest.mark.skipif(sys.platform == "win32", reason="libtiff is part of Pillow's own module there")
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits", "group4"])
def test_libtiff_says_nothing_of_its_own(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    image = Image.fromarray(random_pixels((60, 50, 3)))
    sound = encode(image.convert("1") if compression == "group4" else image, "TIFF", compression=compression)
    for at in range(8, len(sound), len(sound) // 50):
        damaged = bytearray(sound)
        damaged[at] ^= 0x55
        with suppress(ImageError):
            load_image(bytes(damaged))
    assert capfd.readouterr().err == ""
