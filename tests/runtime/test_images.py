"""Reading images and bringing them to a model's pixels."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime.errors import EdgeAdaptError, ImageError
from edge_adapt.runtime.images import MAX_PIXELS, Preprocessing, load_image, preprocess

MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
MODES += ["I", "I;16", "I;16B", "F"]
FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))

Pixels = npt.NDArray[np.uint8]


def random_pixels(shape: tuple[int, ...], seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A grey PNG whose header is whole and whose pixels are missing."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + zlib.compress(b""))


def antialiased(pixels: Pixels, height: int, width: int) -> npt.NDArray[np.float64]:
    """The central crop to height : width, resized with a triangle filter in float64; pixels [H, W, C]."""

    def weights(size: int, start: float, length: float, target: int) -> npt.NDArray[np.float64]:
        scale = length / target
        centres = start + (np.arange(target) + 0.5) * scale
        distances = np.abs(np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1.0)
        triangle = np.clip(1.0 - distances, 0.0, None)
        return np.asarray(triangle / triangle.sum(axis=1, keepdims=True))

    rows, columns, _ = pixels.shape
    scale = min(rows / height, columns / width)
    down = weights(rows, (rows - scale * height) / 2, scale * height, height)
    across = weights(columns, (columns - scale * width) / 2, scale * width, width)
    return np.asarray(np.einsum("yr,xc,rck->yxk", down, across, pixels.astype(np.float64)))


# What a source gives


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_path_and_its_bytes_are_the_same_image(tmp_path: Path, file_format: str) -> None:
    image = Image.fromarray(random_pixels((7, 9, 3)))
    data = encode(image, file_format)
    path = tmp_path / "photo"
    path.write_bytes(data)
    by_path, by_string, by_bytes = load_image(path), load_image(str(path)), load_image(data)
    assert by_path.name == by_string.name == str(path)
    assert by_bytes.name == "image"
    assert by_path.sha256 == by_string.sha256 == by_bytes.sha256 == hashlib.sha256(data).hexdigest()
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    for loaded in (by_path, by_string, by_bytes):
        np.testing.assert_array_equal(np.asarray(loaded.image.convert("RGB")), expected)


def test_a_given_name_is_kept() -> None:
    assert load_image(random_pixels((2, 2)), "shot 3").name == "shot 3"


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 3), (5, 4, 4)])
def test_an_array_and_its_pil_image_are_the_same_image(shape: tuple[int, ...]) -> None:
    array = random_pixels(shape)
    image = Image.fromarray(array.reshape(shape[:2]) if shape[2:] in ((), (1,)) else array)
    channels = shape[2] if len(shape) == 3 else 1
    expected = hashlib.sha256(f"5 4 {channels}\n".encode() + array.tobytes()).hexdigest()
    from_array, from_pil = load_image(array), load_image(image)
    assert from_array.sha256 == from_pil.sha256 == expected
    np.testing.assert_array_equal(np.asarray(from_array.image).reshape(shape), array)


def test_an_array_may_have_any_strides() -> None:
    array = random_pixels((12, 10, 3))
    view = array[::2, ::-1]
    np.testing.assert_array_equal(np.asarray(load_image(view).image), view)


def test_arrays_of_one_memory_and_different_shapes_have_different_hashes() -> None:
    array = random_pixels((6, 4))
    assert load_image(array).sha256 != load_image(array.reshape(4, 6)).sha256


def test_an_animation_is_its_first_frame() -> None:
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "green", "blue")]
    for file_format in ("GIF", "WEBP", "TIFF", "PNG"):
        data = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
        pixels = np.asarray(load_image(data).image.convert("RGB")).astype(int)
        assert np.abs(pixels - [255, 0, 0]).max() <= 3, file_format


def test_a_phone_photo_with_a_second_picture_inside_is_the_first_one() -> None:
    first, second = (Image.fromarray(random_pixels((16, 16, 3), seed)) for seed in (1, 2))
    data = encode(first, "MPO", save_all=True, append_images=[second])
    expected = np.asarray(load_image(encode(first, "JPEG")).image)
    np.testing.assert_array_equal(np.asarray(load_image(data).image), expected)


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 8), st.sampled_from(["PNG", "JPEG", "WEBP", "TIFF"]))
def test_exif_orientation_is_applied(size: tuple[int, int], orientation: int, file_format: str) -> None:
    turns: dict[int, Callable[[Pixels], Pixels]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, 1),
    }
    image = Image.fromarray(random_pixels((*size, 3)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    as_stored = np.asarray(load_image(encode(image, file_format)).image)
    data = encode(image, file_format, exif=exif)
    loaded = load_image(data)
    np.testing.assert_array_equal(np.asarray(loaded.image), turns[orientation](as_stored))
    opened = load_image(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(np.asarray(opened.image), np.asarray(loaded.image))
    # What is upright already is not turned once more.
    np.testing.assert_array_equal(np.asarray(load_image(loaded.image).image), np.asarray(loaded.image))


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_data_does_not_cost_the_photo() -> None:
    image = Image.fromarray(random_pixels((8, 6, 3)))
    expected = np.asarray(load_image(encode(image, "JPEG")).image)
    for exif in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12"):
        loaded = load_image(encode(image, "JPEG", exif=exif))
        np.testing.assert_array_equal(np.asarray(loaded.image), expected)


# What is refused


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
    monkeypatch.setattr("edge_adapt.runtime.images.MAX_ENCODED_BYTES", 99)
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
def test_an_iphone_photo(tmp_path: Path, brand: bytes) -> None:
    path = tmp_path / "IMG_0001.jpg"  # whatever its name
    path.write_bytes(b"\0\0\0\x24ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(100))
    message = refusal(path)
    assert str(path) in message and "HEIC" in message and "JPEG" in message and "Most Compatible" in message


def test_an_avif_image() -> None:
    message = refusal(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf" + bytes(100), "a.avif")
    assert "a.avif" in message and "AVIF" in message and "JPEG" in message


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


# Preprocessing


@settings(max_examples=150, deadline=None)
@given(SIZES, st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.sampled_from(MODES))
def test_any_image_gives_the_wanted_pixels(
    size: tuple[int, int], height: int, width: int, channels: int, mode: str
) -> None:
    pixels = preprocess(Image.new(mode, size), Preprocessing(height, width, channels))
    assert pixels.shape == (height, width, channels)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous and pixels.flags.writeable


@settings(max_examples=100, deadline=None)
@given(
    SIZES,
    st.sampled_from([mode for mode in MODES if not mode.startswith(("I", "F", "1"))]),
    st.lists(st.integers(0, 255), min_size=4, max_size=4),
    st.sampled_from([1, 3]),
)
def test_a_constant_image_stays_constant(size: tuple[int, int], mode: str, values: list[int], channels: int) -> None:
    bands = len(Image.new(mode, (1, 1)).getbands())
    colour = values[0] if bands == 1 else tuple(values[:bands])
    pixels = preprocess(Image.new(mode, size, colour), Preprocessing(12, 10, channels))
    assert (pixels == pixels[0, 0]).all()
    if mode == "L":
        assert (pixels == values[0]).all()
    if mode == "RGB" and channels == 3:
        assert pixels[0, 0].tolist() == values[:3]


@given(st.integers(0, 65535))
def test_16_bit_grey_keeps_its_high_byte(value: int) -> None:
    for mode in ("I;16", "I;16B", "I"):
        pixels = preprocess(Image.new(mode, (5, 5), value), Preprocessing(3, 3, 1))
        assert (pixels == value // 256).all()


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, 255), (0.5, 128), (200.0, 200), (65535.0, 255), (-3.0, 0), (np.nan, 0)]
)
def test_floats_are_scaled_by_the_range_that_holds_them(value: float, expected: int) -> None:
    assert (preprocess(Image.new("F", (5, 5), value), Preprocessing(3, 3, 1)) == expected).all()


def test_a_16_bit_png() -> None:
    array = np.random.default_rng(0).integers(0, 65536, (6, 6), dtype=np.uint16)
    loaded = load_image(encode(Image.fromarray(array), "PNG"))
    np.testing.assert_array_equal(preprocess(loaded.image, Preprocessing(6, 6, 1))[:, :, 0], array >> 8)


def test_a_1_bit_drawing_is_antialiased() -> None:
    drawing = np.indices((8, 8)).sum(axis=0) % 2 == 0
    loaded = load_image(encode(Image.fromarray(drawing), "PNG"))
    assert loaded.image.mode == "L"
    pixels = preprocess(loaded.image, Preprocessing(4, 4, 1))
    assert np.abs(pixels.astype(int) - 127.5).max() < 20


def test_a_cmyk_jpeg() -> None:
    red = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    pixels = preprocess(load_image(encode(red, "JPEG", quality=95)).image, Preprocessing(4, 4, 3))
    assert np.abs(pixels.astype(int) - [255, 0, 0]).max() <= 6


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 255), st.integers(0, 255))
def test_transparency_is_composited_on_white(grey: int, alpha: int) -> None:
    expected = grey * alpha / 255 + 255 * (1 - alpha / 255)
    for mode, colour in (("LA", (grey, alpha)), ("RGBA", (grey, grey, grey, alpha))):
        image = Image.new(mode, (4, 4), colour)
        pixels = preprocess(load_image(encode(image, "PNG")).image, Preprocessing(4, 4, 1))
        assert np.abs(pixels - expected).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_colour_becomes_white(mode: str) -> None:
    black = Image.new(mode, (4, 4))
    transparent: int | tuple[int, ...] = (0, 0, 0) if mode == "RGB" else 0
    loaded = load_image(encode(black, "PNG", transparency=transparent))
    assert (preprocess(loaded.image, Preprocessing(4, 4, 3)) == 255).all()
    assert (preprocess(load_image(encode(black, "PNG")).image, Preprocessing(4, 4, 3)) == 0).all()


def test_the_colour_of_transparent_pixels_does_not_bleed() -> None:
    array = np.full((8, 8, 4), 255, np.uint8)
    array[::2, ::2] = (255, 0, 0, 0)
    assert (preprocess(Image.fromarray(array), Preprocessing(4, 4, 3)) == 255).all()


@settings(max_examples=80, deadline=None)
@given(SIZES, st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]))
def test_the_resize_is_that_of_a_triangle_filter_on_the_central_crop(
    size: tuple[int, int], height: int, width: int, channels: int
) -> None:
    source = random_pixels((*size, channels))
    image = Image.fromarray(source[:, :, 0] if channels == 1 else source)
    pixels = preprocess(image, Preprocessing(height, width, channels))
    assert np.abs(pixels - antialiased(source, height, width)).max() <= 1.01


def test_an_image_of_the_right_size_is_unchanged() -> None:
    array = random_pixels((9, 7, 3))
    np.testing.assert_array_equal(preprocess(Image.fromarray(array), Preprocessing(9, 7, 3)), array)


def test_only_the_centre_of_a_wide_image_counts() -> None:
    array = np.zeros((10, 30), np.uint8)
    array[:, 8:22] = 200  # the centre, and what the filter reaches beyond it
    assert (preprocess(Image.fromarray(array), Preprocessing(5, 5, 1)) == 200).all()
    assert (preprocess(Image.fromarray(array.T), Preprocessing(5, 5, 1)) == 200).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (65_535, 1), (1, 65_535)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    assert (preprocess(Image.new("L", size, 77), Preprocessing(28, 28, 1)) == 77).all()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((0, 28, 1), "0 x 28"),
        ((28, 10**9, 1), "1000000000"),
        ((28, 28, 4), "4 channels"),
        ((28, 28, 3, "nearest"), "nearest"),
        ((28, 28, 3, "bilinear", "pad"), "pad"),
    ],
)
def test_preprocessing_that_is_unknown(arguments: tuple[Any, ...], fault: str) -> None:
    with pytest.raises(EdgeAdaptError, match=fault):
        Preprocessing(*arguments)


def test_decoding_a_png_imports_no_other_plugin(tmp_path: Path) -> None:
    script = (
        "import sys; from edge_adapt.runtime.images import load_image; load_image(sys.argv[1]);"
        "print(sorted(m for m in sys.modules if m.endswith('ImagePlugin')))"
    )
    path = tmp_path / "drawing.png"
    path.write_bytes(encode(Image.new("1", (5, 5)), "PNG"))
    command = [sys.executable, "-c", script, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['PIL.PngImagePlugin']"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "photo.jpg")
    with pytest.raises(ImageError, match=r"photo\.jpg is a device or a pipe"):
        load_image(tmp_path / "photo.jpg")
