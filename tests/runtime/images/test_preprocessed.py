"""Bringing images to a model's pixels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from tests.encoded_images import SIZES, Pixels, encode, random_pixels

MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
MODES += ["I", "I;16", "I;16B", "F"]


def antialiased(pixels: Pixels, height: int, width: int, part: float = 1) -> npt.NDArray[np.float64]:
    """Part of the central crop to height : width, resized with a triangle filter in float64; pixels [H, W, C]."""

    def weights(size: int, start: float, length: float, target: int) -> npt.NDArray[np.float64]:
        scale = length / target
        centres = start + (np.arange(target) + 0.5) * scale
        distances = np.abs(np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1.0)
        triangle = np.clip(1.0 - distances, 0.0, None)
        return np.asarray(triangle / triangle.sum(axis=1, keepdims=True))

    rows, columns, _ = pixels.shape
    scale = part * min(rows / height, columns / width)
    down = weights(rows, (rows - scale * height) / 2, scale * height, height)
    across = weights(columns, (columns - scale * width) / 2, scale * width, width)
    return np.asarray(np.einsum("yr,xc,rck->yxk", down, across, pixels.astype(np.float64)))


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
@given(SIZES, st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.just(1.0) | st.floats(0.1, 1))
def test_the_resize_is_that_of_a_triangle_filter_on_part_of_the_central_crop(
    size: tuple[int, int], height: int, width: int, channels: int, part: float
) -> None:
    source = random_pixels((*size, channels))
    image = Image.fromarray(source[:, :, 0] if channels == 1 else source)
    pixels = preprocess(image, Preprocessing(height, width, channels, part=part))
    assert np.abs(pixels - antialiased(source, height, width, part)).max() <= 1.01


@given(st.integers(1, 999), st.integers(1, 999), st.floats(0.1, 1))
def test_an_image_is_decoded_as_large_as_its_part_needs_and_not_larger(height: int, width: int, part: float) -> None:
    for found, needed in zip(Preprocessing(height, width, 3, part=part).decoded_size, (width, height), strict=True):
        assert found == math.ceil(needed / part) and found * part > needed - 1e-9
    assert Preprocessing(height, width, 1).decoded_size == (width, height)


def strokes(thickness: int, paper: int, ink: int, seed: int = 0) -> Image.Image:
    drawing = Image.new("L", (105, 90), paper)
    points = [tuple(point) for point in np.random.default_rng(seed).integers(15, 75, (5, 2)).tolist()]
    ImageDraw.Draw(drawing).line(points, ink, thickness)
    return drawing


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(60, 255), st.floats(0, 0.8), st.integers(0, 99), st.sampled_from(["L", "RGB"]))
def test_light_strokes_on_a_dark_ground_give_the_pixels_of_dark_ones_on_a_light_ground(
    thickness: int, paper: int, ink: float, seed: int, mode: str
) -> None:
    drawing = strokes(thickness, paper, round(paper * ink), seed).convert(mode)
    light, untouched = Preprocessing(28, 24, len(mode), ground="light"), Preprocessing(28, 24, len(mode))
    expected = preprocess(drawing, untouched)
    np.testing.assert_array_equal(preprocess(drawing, light), expected)
    np.testing.assert_array_equal(preprocess(ImageOps.invert(drawing), light), expected)
    assert np.abs(255 - preprocess(ImageOps.invert(drawing), untouched) - expected.astype(int)).max() <= 1


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 9), st.floats(0, 0.3), st.integers(0, 99))
def test_a_ground_that_is_darker_to_one_side_and_noisy_is_judged_all_the_same(
    thickness: int, dusk: float, seed: int
) -> None:
    drawing = np.asarray(strokes(thickness, 220, 40, seed), np.float32) * (1 - dusk * np.linspace(0, 1, 105))
    noise = np.random.default_rng(seed).normal(0, 4, drawing.shape)
    scan = Image.fromarray(np.rint(np.clip(drawing + noise, 0, 255)).astype(np.uint8))
    light, untouched = Preprocessing(28, 28, 1, ground="light"), Preprocessing(28, 28, 1)
    np.testing.assert_array_equal(preprocess(scan, light), preprocess(scan, untouched))
    np.testing.assert_array_equal(preprocess(ImageOps.invert(scan), light), preprocess(scan, untouched))


def test_the_ground_is_that_of_the_part_that_is_seen() -> None:
    board = Image.new("L", (60, 60), 240)
    board.paste(ImageOps.invert(strokes(4, 255, 30)).resize((30, 30)), (15, 15))
    assert np.median(preprocess(board, Preprocessing(20, 20, 1, part=0.5))) == 0
    assert np.median(preprocess(board, Preprocessing(20, 20, 1, part=0.5, ground="light"))) == 255
    assert np.median(preprocess(board, Preprocessing(20, 20, 1, ground="light"))) == 240


def test_an_empty_ground_becomes_light() -> None:
    for grey in (0, 127, 128, 255):
        pixels = preprocess(Image.new("L", (9, 9), grey), Preprocessing(3, 3, 1, ground="light"))
        assert (pixels == max(grey, 255 - grey)).all()


def test_an_image_of_the_right_size_is_unchanged() -> None:
    array = random_pixels((9, 7, 3))
    np.testing.assert_array_equal(preprocess(Image.fromarray(array), Preprocessing(9, 7, 3)), array)


def test_only_the_centre_of_a_wide_image_counts() -> None:
    array = np.zeros((10, 30), np.uint8)
    array[:, 8:22] = 200  # the centre, and what the filter reaches beyond it
    assert (preprocess(Image.fromarray(array), Preprocessing(5, 5, 1)) == 200).all()
    assert (preprocess(Image.fromarray(array.T), Preprocessing(5, 5, 1)) == 200).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (65_535, 1), (1, 65_535)])
@pytest.mark.parametrize("part", [1, 0.1])
def test_extreme_shapes(size: tuple[int, int], part: float) -> None:
    assert (preprocess(Image.new("L", size, 77), Preprocessing(28, 28, 1, part=part)) == 77).all()
    assert (preprocess(Image.new("L", size, 77), Preprocessing(28, 28, 1, part=part, ground="light")) == 178).all()


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ((0, 28, 1), "0 x 28"),
        ((28, 10**9, 1), "1000000000"),
        ((28, 28, 4), "4 channels"),
        ((28, 28, 3, "nearest"), "nearest"),
        ((28, 28, 3, "bilinear", "pad"), "pad"),
        ((28, 28, 3, "bilinear", "center", 0.09), "0.09"),
        ((28, 28, 3, "bilinear", "center", 1.5), "1.5"),
        ((28, 28, 3, "bilinear", "center", math.nan), "nan"),
        ((28, 28, 3, "bilinear", "center", 1, "dark"), "'dark'"),
    ],
)
def test_preprocessing_that_is_unknown(arguments: tuple[Any, ...], fault: str) -> None:
    with pytest.raises(EdgeAdaptError, match=fault):
        Preprocessing(*arguments)
