"""Large JPEGs decoded at reduced scale: what is seen stays the same, and so does what is refused."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime.bundle.bundle import GRAPHS, Bundle, write_bundle
from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.images import load_image, named
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY
from tests.encoded_images import Pixels, encode, random_pixels

ORIENTATION = 0x0112


def scene(width: int, height: int, seed: int = 0) -> Image.Image:
    """Colours that change over some 50 pixels, and noise."""
    coarse = Image.fromarray(random_pixels((1 + height // 48, 1 + width // 48, 3), seed))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noise = np.random.default_rng(seed).normal(0, 8, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, orientation: int = 1, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return encode(image, "JPEG", exif=exif, **options)


def full_and_reduced(data: bytes, preprocessing: Preprocessing) -> tuple[Pixels, Pixels]:
    full = load_image(data)
    reduced = load_image(data, size=preprocessing.decoded_size)
    assert reduced.sha256 == full.sha256
    assert reduced.image.width < full.image.width and reduced.image.height < full.image.height
    return preprocess(full.image, preprocessing), preprocess(reduced.image, preprocessing)


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 500), st.integers(1, 500)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 8),
)
def test_the_smallest_scale_is_taken_at_which_the_central_part_is_three_times_the_size(
    stored: tuple[int, int], size: tuple[int, int], orientation: int
) -> None:
    upright = stored[::-1] if orientation >= 5 else stored
    found = load_image(jpeg(Image.new("L", stored), orientation), size=size).image.size
    room = min(upright[0] / size[0], upright[1] / size[1])  # the scale of the largest part with the shape of `size`
    scale = next(scale for scale in (8, 4, 2, 1) if room // 3 >= scale or scale == 1)
    assert found == (round(upright[0] / scale), round(upright[1] / scale))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("height", "width"), [(12, 12), (8, 16), (20, 9)])
def test_a_reduced_photo_shows_what_the_full_one_shows(orientation: int, height: int, width: int) -> None:
    for shape in ((640, 480), (331, 517)):
        data = jpeg(scene(*shape, seed=orientation), orientation, quality=90)
        for part in (1, 0.6):
            full, reduced = full_and_reduced(data, Preprocessing(height, width, 3, part=part))
            difference = reduced.astype(int) - full
            assert np.abs(difference).max() <= 12 and (difference**2).mean() <= 3**2
            assert abs(difference.mean()) <= 0.5


@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}, {"quality": 100}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_jpeg_is_reduced(options: dict[str, Any], mode: str, channels: int) -> None:
    data = jpeg(scene(400, 300).convert(mode), **options)
    full, reduced = full_and_reduced(data, Preprocessing(10, 10, channels))
    assert np.abs(reduced.astype(int) - full).max() <= 12


def test_the_grey_of_a_reduced_photo_is_pillows() -> None:
    loaded = load_image(jpeg(scene(400, 300)), size=(8, 8)).image
    assert loaded.mode == "RGB"
    grey = preprocess(loaded, Preprocessing(8, 8, 1))
    np.testing.assert_array_equal(grey, preprocess(loaded.convert("L"), Preprocessing(8, 8, 1)))


@pytest.mark.parametrize("file_format", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_other_formats_are_read_in_full(file_format: str) -> None:
    data = encode(scene(96, 64), file_format)
    np.testing.assert_array_equal(np.asarray(load_image(data, size=(8, 8)).image), np.asarray(load_image(data).image))


def test_a_picture_that_a_program_opened_is_left_as_it_was() -> None:
    data = jpeg(scene(320, 240), orientation=6)
    opened = Image.open(io.BytesIO(data))
    loaded, full = load_image(opened, size=(8, 8)), load_image(data)
    assert (opened.size, loaded.image.size) == ((320, 240), (240, 320))
    np.testing.assert_array_equal(np.asarray(loaded.image), np.asarray(full.image))
    assert loaded.sha256 == load_image(np.asarray(full.image)).sha256


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1, exclude_max=True), st.booleans(), st.integers(0, 255))
def test_damage_is_found_at_reduced_scale_as_at_full(fraction: float, progressive: bool, flip: int) -> None:
    whole = jpeg(scene(200, 160), progressive=progressive)
    cut = whole[: int(len(whole) * fraction)]
    changed = bytearray(whole)
    changed[int(len(whole) * fraction)] ^= flip
    for data in (cut, bytes(changed)):
        try:
            full = load_image(data, "photo")
        except ImageError as error:
            with pytest.raises(ImageError) as caught:
                load_image(data, "photo", (8, 8))
            assert str(caught.value) == str(error)
        else:
            assert load_image(data, "photo", (8, 8)).sha256 == full.sha256


def test_too_many_pixels_are_too_many_at_any_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_adapt.runtime.images.decoding.MAX_PIXELS", 300 * 200 - 1)
    with pytest.raises(ImageError, match=r"^large\.jpg has 300 x 200 pixels"):
        load_image(jpeg(scene(300, 200)), "large.jpg", (8, 8))


@pytest.mark.parametrize("seen", [{}, {"part": 0.7, "ground": "light"}])
def test_training_evaluation_and_devices_see_the_same_pixels(seen: dict[str, Any], tmp_path: Path) -> None:
    original = Bundle.open(TINY)
    graphs = {name: original.graph(name) for name in GRAPHS}
    preprocessing = replace(original.manifest.preprocessing, **seen)
    write_bundle(tmp_path / "a.edge", replace(original.manifest, preprocessing=preprocessing), graphs)
    tiny = load_model(tmp_path / "a.edge", "cpu")
    files = []
    for index, (shape, orientation) in enumerate([((400, 300), 1), ((300, 400), 6), ((77, 60), 3), ((8, 8), 1)]):
        path = tmp_path / "photos" / "abcd"[index] / "photo.jpg"
        path.parent.mkdir(parents=True)
        path.write_bytes(jpeg(scene(*shape, seed=index), orientation))
        files.append(path)
    data = load_dataset(tmp_path / "photos", preprocessing)
    for path, pixels in zip(files, data.images, strict=True):
        loaded = load_image(path, size=preprocessing.decoded_size)
        np.testing.assert_array_equal(preprocess(loaded.image, preprocessing), pixels)
        np.testing.assert_array_equal(tiny.graphs.embed_image(named(path)).features, tiny.graphs.embed(pixels[None])[0])
