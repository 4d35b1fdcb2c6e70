"""Photos that are poor examples, made from one that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageFilter

from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.quality import photo_fault

SAMPLES = Path(__file__).parents[3] / "samples"
SEEN = Preprocessing(192, 192, 3, part=0.875)


def fault(image: Image.Image) -> str:
    found = photo_fault(image, SEEN)
    return found[0] if found else ""


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.open(min((SAMPLES / "photos" / "support").glob("*/*.jpg")))


def test_the_samples_have_no_fault() -> None:
    for path in (SAMPLES / "photos").rglob("*.jpg"):
        assert photo_fault(Image.open(path), SEEN) is None, path
    for path in (SAMPLES / "characters" / "support").rglob("*.png"):
        assert photo_fault(Image.open(path), Preprocessing(28, 28, 1)) is None, path


def test_a_photo_smaller_than_what_the_model_sees_of_it(photo: Image.Image) -> None:
    assert fault(photo.resize((219, 300))) == "small" and fault(photo.resize((220, 300))) == ""
    assert photo_fault(photo.resize((100, 50)), SEEN) == ("small", "100 x 50 pixels, and the model sees 219")


def test_a_dark_photo(photo: Image.Image) -> None:
    assert fault(photo.point(lambda value: value // 12)) == "dark"
    assert fault(Image.new("L", (300, 300), 0)) == "dark"


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_a_blurred_photo_at_any_size(photo: Image.Image, mode: str) -> None:
    for scale in (0.5, 1, 3):
        resized = photo.convert(mode).resize((round(photo.width * scale), round(photo.height * scale)))
        assert fault(resized) == ""
        assert fault(resized.filter(ImageFilter.GaussianBlur(resized.width / 60))) == "blurred"


def test_an_empty_sheet_is_not_blurred() -> None:
    assert fault(Image.new("RGB", (300, 300), "white")) == ""
