"""Reading images from any source."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.images import ImageSource, load_image
from tests.encoded_images import FORMATS, SIZES, Pixels, encode, random_pixels


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


def test_an_open_file_and_buffers_of_bytes_are_the_same_image(tmp_path: Path) -> None:
    data = encode(Image.fromarray(random_pixels((7, 9, 3))), "PNG")
    path = tmp_path / "photo"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources: list[ImageSource] = [file, io.BytesIO(data), bytearray(data), memoryview(data)]
        for source in sources:
            assert load_image(source).sha256 == hashlib.sha256(data).hexdigest()
    with path.open("rb") as file, pytest.raises(ImageError, match=r"^shot 3 is empty"):
        file.seek(0, io.SEEK_END)
        load_image(file, "shot 3")
    text: Any = io.StringIO("text")
    with pytest.raises(ImageError, match="open it for reading bytes, with mode 'rb'"):
        load_image(text)


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


def test_decoding_a_png_imports_no_other_plugin(tmp_path: Path) -> None:
    script = (
        "import sys; from edge_adapt.runtime.images.images import load_image; load_image(sys.argv[1]);"
        "print(sorted(m for m in sys.modules if m.endswith('ImagePlugin')))"
    )
    path = tmp_path / "drawing.png"
    path.write_bytes(encode(Image.new("1", (5, 5)), "PNG"))
    command = [sys.executable, "-c", script, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['PIL.PngImagePlugin']"
