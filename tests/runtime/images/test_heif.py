"""HEIC and AVIF, where what reads them is installed: the pixels of the photo, upright, and damage named."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY
from tests.encoded_images import encode

ORIENTATION = 0x0112
FORMATS = ("HEIF", "AVIF")


def quarters() -> Image.Image:
    """Upright 96 x 64 pixels: red, green, blue and white quarters."""
    pixels = np.zeros((64, 96, 3), np.uint8)
    pixels[:32, :48], pixels[:32, 48:], pixels[32:, :48], pixels[32:, 48:] = (
        (220, 20, 20), (20, 200, 20), (20, 20, 220), (250, 250, 250),
    )  # fmt: skip
    return Image.fromarray(pixels)


def encoded(image: Image.Image, kind: str, orientation: int | None = None, **options: Any) -> bytes:
    """The image as a file; with an orientation, as a camera held so stores it."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif").register_heif_opener()
    else:
        plugin = pytest.importorskip("PIL.AvifImagePlugin")
        if not plugin.SUPPORTED:
            pytest.skip("this Pillow has no libavif")
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        back = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
        image = image.transpose(back[orientation]) if orientation != 1 else image
        options["exif"] = exif.tobytes()  # from which both encoders also write HEIF's own boxes, irot and imir
    return encode(image, kind, quality=90, **options)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_a_photo_is_upright_however_the_camera_was_held(kind: str, orientation: int | None) -> None:
    loaded = load_image(encoded(quarters(), kind, orientation)).image
    assert (loaded.size, loaded.mode) == ((96, 64), "RGB")
    assert np.abs(np.asarray(loaded, int) - np.asarray(quarters(), int)).mean() < 4


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_transparent_ones(kind: str, mode: str) -> None:
    loaded = load_image(encoded(quarters().convert(mode), kind)).image
    assert loaded.size == (96, 64) and loaded.mode in ("L", "RGB", "RGBA")
    expected = np.asarray(quarters().convert(mode).convert("RGB"), int)
    assert np.abs(np.asarray(loaded.convert("RGB"), int) - expected).mean() < 4


@pytest.mark.parametrize("kind", FORMATS)
def test_a_smaller_size_is_that_of_the_photo_and_not_of_its_thumbnail(kind: str) -> None:
    options: dict[str, Any] = {"thumbnails": [64]} if kind == "HEIF" else {}
    data = encoded(quarters().resize((384, 256)), kind, **options)
    np.testing.assert_array_equal(np.asarray(load_image(data, size=(8, 8)).image), np.asarray(load_image(data).image))


@pytest.mark.parametrize("kind", FORMATS)
def test_one_that_is_cut_short_is_named(kind: str) -> None:
    data = encoded(quarters(), kind)
    for length in (20, 100, len(data) // 2, len(data) - 40):
        with pytest.raises(ImageError, match=r"^a\.heic "):
            load_image(data[:length], "a.heic")


def test_only_a_heic_photo_imports_what_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    avif, heic = encoded(quarters(), "AVIF"), encoded(quarters(), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for data in (avif, encode(quarters(), "JPEG")):
        load_image(data)
    with pytest.raises(ImageError, match=r"edge-adapt\[heic\]"):
        load_image(heic)


def test_a_model_takes_them() -> None:
    model = load_model(TINY, "cpu")
    red, blue = Image.new("RGB", (64, 64), (220, 30, 40)), Image.new("RGB", (64, 64), (30, 60, 220))
    mine = model.adapt({"red": [encoded(red, "HEIF")], "blue": [encoded(blue, "AVIF")]})
    assert mine.classify(encoded(red, "AVIF")).label == "red"
    assert mine.classify(encoded(blue, "HEIF")).label == "blue"
