"""Grey line drawings of any kind are told from everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from edge_adapt import samples
from edge_adapt.runtime.model_choice import is_line_drawing

SAMPLES = Path(samples.__file__).parent

DRAWN = sorted((SAMPLES / "characters").rglob("*.png"))


def scan(drawing: Image.Image, cast: tuple[float, float, float], dusk: float, seed: int = 0) -> Image.Image:
    """A drawing as a scanner or a phone gives it: grey ink on tinted paper, darker to one side by `dusk`, with noise."""
    paper = np.asarray(drawing.convert("L").resize((420, 420), Image.Resampling.BICUBIC), np.float32) / 255
    paper = (0.15 + 0.8 * paper) * (1 - dusk * np.linspace(0, 1, 420, dtype=np.float32))
    noise = np.random.default_rng(seed).normal(0, 0.015, (420, 420, 3))
    return Image.fromarray(np.rint(np.clip(paper[..., None] * cast + noise, 0, 1) * 255).astype(np.uint8))


def shaded_ball(colour: tuple[float, float, float], paper: float = 0.9) -> Image.Image:
    """A ball of this colour on a white sheet, with a shadow."""
    y, x = np.mgrid[-1:1:200j, -1:1:200j]
    away = np.hypot(x, y)
    shadow = paper * (1 - 0.5 * np.exp(-(((x - 0.2) ** 2 + (y - 0.3) ** 2) / 0.2)))
    light = np.clip(0.35 + 0.65 * (np.sqrt(np.clip(0.25 - away**2, 0, None)) * 2 - x - y), 0.1, 1)
    picture = np.where((away < 0.5)[..., None], light[..., None] * np.array(colour), shadow[..., None])
    return Image.fromarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))


def test_every_sample_drawing_is_one() -> None:
    drawings = [Image.open(path).convert("L") for path in DRAWN]
    assert len(drawings) == 180
    assert all(map(is_line_drawing, drawings))


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.invert,
        lambda drawing: drawing.resize((28, 28), Image.Resampling.BILINEAR),
        lambda drawing: drawing.resize((1200, 900), Image.Resampling.BICUBIC),
        lambda drawing: drawing.filter(ImageFilter.GaussianBlur(0.8)),
        lambda drawing: Image.merge("RGBA", [*[Image.new("L", drawing.size, 0)] * 3, ImageOps.invert(drawing)]),
    ],
    ids=["chalk", "small", "large", "blurred", "ink on nothing"],
)
def test_drawings_in_other_forms_are_drawings(change: Callable[[Image.Image], Image.Image]) -> None:
    assert all(is_line_drawing(change(Image.open(path).convert("L"))) for path in DRAWN[::12])


@given(
    index=st.integers(0, 179),
    red=st.floats(0.85, 1),
    blue=st.floats(0.8, 1),
    dusk=st.floats(0, 0.25),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_a_scan_with_a_cast_is_a_drawing(index: int, red: float, blue: float, dusk: float, seed: int) -> None:
    assert is_line_drawing(scan(Image.open(DRAWN[index]), (red, 0.95, blue), dusk, seed))


@given(index=st.integers(0, 179), light=st.floats(0.35, 0.5), dusk=st.floats(0, 0.25), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_a_drawing_on_paper_photographed_too_dark_is_one(index: int, light: float, dusk: float, seed: int) -> None:
    assert is_line_drawing(scan(Image.open(DRAWN[index]), (light, light, light), dusk, seed))


@given(width=st.integers(22, 44), tone=st.integers(0, 40), size=st.integers(60, 600))
@settings(max_examples=12, deadline=None)
def test_a_thick_mark_is_a_drawing_unless_it_is_mottled(width: int, tone: int, size: int) -> None:
    mark = Image.new("L", (300, 300), 250)
    ImageDraw.Draw(mark).line([(50, 40), (130, 250), (250, 60), (260, 260)], tone, width)
    assert is_line_drawing(mark.resize((size, size), Image.Resampling.BICUBIC))
    gleam = Image.linear_gradient("L").resize((300, 300)).point(lambda level: level * 0.6)
    assert not is_line_drawing(ImageChops.lighter(mark, gleam))


@given(
    hue=st.sampled_from([(0.9, 0.2, 0.1), (0.1, 0.5, 0.2), (0.2, 0.3, 0.9), (0.8, 0.7, 0.1), (0.5, 0.5, 0.5)]),
    paper=st.floats(0.6, 1),
)
@settings(max_examples=20, deadline=None)
def test_an_object_on_white_paper_is_a_photo_in_colour_and_in_grey(
    hue: tuple[float, float, float], paper: float
) -> None:
    picture = shaded_ball(hue, paper)
    assert not is_line_drawing(picture)
    assert not is_line_drawing(picture.convert("L"))


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_nothing_and_noise_are_no_drawings(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    for image in (Image.new("RGB", (50, 40), "white"), Image.new("RGB", (1, 1)), Image.fromarray(noise)):
        assert not is_line_drawing(image.convert(mode))


def test_a_drawing_in_colours_is_no_grey_one() -> None:
    drawing = Image.new("RGB", (200, 200), "white")
    ImageDraw.Draw(drawing).line([(20, 20), (180, 60), (40, 150), (170, 180)], fill=(220, 20, 20), width=6)
    assert not is_line_drawing(drawing)
    assert is_line_drawing(drawing.convert("L"))
