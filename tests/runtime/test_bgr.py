"""Arrays as OpenCV gives them: blue, green, red."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime.classifier.prediction import Prediction
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.images import rgb
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY
from tests.encoded_images import Pixels, random_pixels

TINY_MODEL = load_model(TINY, "cpu")
RGB = [random_pixels((9, 8, 3), seed) for seed in range(4)]


def turned(image: Pixels) -> Pixels:
    """BGR from RGB, or RGB from BGR, by the channels' own names."""
    red, green, blue = np.moveaxis(image[:, :, :3], 2, 0)
    return np.stack([blue, green, red, *np.moveaxis(image[:, :, 3:], 2, 0)], axis=2)


def test_a_bgr_array_is_the_rgb_array_that_shows_the_same() -> None:
    support = {"a": RGB[:1], "b": RGB[1:2]}
    mine = TINY_MODEL.adapt(support)
    same = TINY_MODEL.adapt({label: [turned(image) for image in images] for label, images in support.items()}, bgr=True)
    assert same.adaptation.shots == mine.adaptation.shots  # their SHA-256s too
    for image in RGB:
        expected = mine.classify(image)
        assert same.classify(turned(image), bgr=True) == expected
        assert same.classify_all([turned(image)], bgr=True) == [expected]


def test_edits_take_the_order_too() -> None:
    mine = TINY_MODEL.adapt({"a": RGB[:1], "b": RGB[1:2]})
    added = mine.add("c", [turned(RGB[2])], bgr=True)
    assert added.support.shots == mine.add("c", [RGB[2]]).support.shots
    for label, never in (("a", None), (None, "c")):
        expected = added.correct(RGB[2], label, never=never).support
        assert added.correct(turned(RGB[2]), label, never=never, bgr=True).support.shots == expected.shots


def test_alpha_stays_and_grey_has_no_order() -> None:
    np.testing.assert_array_equal(rgb(random_pixels((3, 2, 4))), turned(random_pixels((3, 2, 4))))
    for shape in ((3, 2), (3, 2, 1)):
        np.testing.assert_array_equal(rgb(random_pixels(shape)), random_pixels(shape))


@pytest.mark.parametrize("image", ["a.jpg", Path("a.jpg"), b"bytes", io.BytesIO(), Image.new("RGB", (2, 2)), None])
def test_of_all_else_the_order_is_known(image: Any) -> None:
    mine = TINY_MODEL.adapt({"a": RGB[:1], "b": RGB[1:2]})
    with pytest.raises(ImageError, match="but bgr=True is for arrays as OpenCV gives them; leave it out"):
        mine.classify(image, bgr=True)
    with pytest.raises(ImageError, match="bgr=True"):
        mine.add("c", [image], bgr=True)
    with pytest.raises(ImageError, match="bgr=True"):
        mine.correct(image, "a", bgr=True)
    with pytest.raises(ImageError, match="bgr=True"):
        TINY_MODEL.adapt({"a": [image], "b": RGB[:1]}, bgr=True)
    error, prediction = mine.classify_all([image, RGB[0]], bgr=True)
    assert isinstance(error, ImageError) and isinstance(prediction, Prediction)


def test_an_array_that_is_no_image_is_refused_as_ever() -> None:
    mine = TINY_MODEL.adapt({"a": RGB[:1], "b": RGB[1:2]})
    for shape in ((4,), (2, 2, 2), (1, 2, 2, 3)):
        with pytest.raises(ImageError, match="but an image is an array of uint8"):
            mine.classify(np.zeros(shape, np.uint8), bgr=True)
