"""Frames of a stream: each comes out as it went in, as soon as it is there, and a stream that ends too early is no stream."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime.errors import EdgeAdaptError, ImageError
from edge_adapt.runtime.streams import jpegs as jpegs_module
from edge_adapt.runtime.streams.frames import frames
from edge_adapt.runtime.streams.jpegs import jpegs
from tests.encoded_images import encode, random_pixels


class Trickle(io.BytesIO):
    """A pipe: `read1` gives a few bytes at a time, and says how many were asked for in all."""

    def __init__(self, data: bytes, at_once: int) -> None:
        super().__init__(data)
        self._at_once = at_once

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(self._at_once)


def jpeg(seed: int, **options: Any) -> bytes:
    """Noise, whose entropy-coded data are full of stuffed FF bytes."""
    return encode(Image.fromarray(random_pixels((24, 20, 3), seed)), "JPEG", **options)


def with_thumbnail(data: bytes) -> bytes:
    """A JPEG whose EXIF segment holds a whole JPEG, as those of cameras do."""
    segment = b"Exif\0\0" + jpeg(99)
    return data[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + data[2:]


KINDS = (
    jpeg,
    lambda seed: jpeg(seed, progressive=True, quality=95),
    lambda seed: jpeg(seed, restart_marker_blocks=1),
    lambda seed: with_thumbnail(jpeg(seed)),
    lambda seed: jpeg(seed)[:-2] + b"\xff\xff\xff\xd9",  # fill bytes before a marker
)
BETWEEN = (b"", b"\0" * 7, b"\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 812\r\n\r\n")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(BETWEEN)), max_size=4), st.sampled_from([1, 7, 64, 9999])
)
def test_jpegs_come_out_as_they_went_in(parts: list[Any], at_once: int) -> None:
    encoded = [kind(seed) for seed, (kind, _) in enumerate(parts)]
    stream = b"".join(between + data for data, (_, between) in zip(encoded, parts, strict=True))
    assert list(jpegs(Trickle(stream, at_once))) == encoded


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_a_jpeg_that_is_cut_anywhere_is_cut_short(kind: int) -> None:
    whole, last = jpeg(1), KINDS[kind](2)
    for length in range(1, len(last)):
        coming = jpegs(io.BytesIO(whole + last[:length]))
        assert next(coming) == whole
        with pytest.raises(ImageError, match=r"^frame 2 is cut short: standard input ended within it\.$"):
            next(coming)


def test_a_frame_is_there_before_the_next_one_comes() -> None:
    class Waiting(Trickle):
        def read1(self, size: int | None = -1) -> bytes:
            assert self.tell() < self.getbuffer().nbytes, "the next frame is waited for"
            return super().read1(size)

    data = jpeg(0)
    assert next(jpegs(Waiting(data, 100))) == data
    assert next(frames("raw:2x1", io.BytesIO(bytes(6)))).name == "frame 1"


def test_after_a_damaged_frame_the_next_one_is_found() -> None:
    lost = jpeg(0)[:-300]  # its rest never came
    broken = bytearray(jpeg(1))
    broken[20] = 0x12  # where a marker is due
    read = [image.load for image in frames("mjpeg", io.BytesIO(lost + jpeg(2) + bytes(broken) + jpeg(3)))]
    outcomes = []
    for load in read:
        try:
            outcomes.append(np.asarray(load().image).tobytes())
        except ImageError as error:
            assert str(error).startswith("frame ")
            outcomes.append(b"")
    right = [np.asarray(Image.open(io.BytesIO(jpeg(seed)))).tobytes() for seed in (2, 3)]
    assert [outcome for outcome in outcomes if outcome] == right and len(outcomes) > 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless(io.BytesIO):
        def __init__(self, pieces: Iterator[bytes]) -> None:
            super().__init__()
            self._pieces = pieces

        def read1(self, size: int | None = -1) -> bytes:
            return next(self._pieces)

    with pytest.raises(ImageError, match="not a stream of JPEGs"):
        list(jpegs(Endless(itertools.repeat(bytes(1000)))))
    monkeypatch.setattr(jpegs_module, "MAX_JPEG_BYTES", 50_000)
    never_ending = itertools.chain([jpeg(0)[:-2]], itertools.repeat(bytes(1000)))
    with pytest.raises(ImageError, match="frame 1 is larger than"):
        list(jpegs(Endless(never_ending)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.sampled_from(["", ":rgb", ":bgr", ":gray"]))
def test_raw_frames_are_the_pixels_that_were_written(width: int, height: int, count: int, order: str) -> None:
    shape = (count, height, width) if order == ":gray" else (count, height, width, 3)
    pixels = random_pixels(shape)
    written = pixels[..., ::-1].tobytes() if order == ":bgr" else pixels.tobytes()
    images = list(frames(f"raw:{width}x{height}{order}", io.BytesIO(written)))
    assert [image.name for image in images] == [f"frame {number}" for number in range(1, count + 1)]
    for image, expected in zip(images, pixels, strict=True):
        np.testing.assert_array_equal(np.asarray(image.load().image), expected)


@pytest.mark.parametrize("missing", [1, 5, 17])
def test_a_raw_frame_that_is_cut_is_named_by_its_number(missing: int) -> None:
    coming = frames("raw:3x2", io.BytesIO(bytes(3 * 18 - missing)))
    assert [next(coming).name, next(coming).name] == ["frame 1", "frame 2"]
    with pytest.raises(ImageError, match=rf"^frame 3 is cut short: .* {missing} bytes before"):
        next(coming)


@pytest.mark.parametrize("spelling", ["raw:2x2", "mjpeg"])
def test_a_stream_without_a_frame_is_an_error(spelling: str) -> None:
    with pytest.raises(ImageError, match="holds no frame"):
        list(frames(spelling, io.BytesIO()))


@pytest.mark.parametrize(
    "spelling", ["", "raw", "raw:2", "raw:0x5", "raw:70000x1", "raw:60000x60000", "raw:2x2:cmyk", "h264", "raw:-1x2"]
)
def test_what_says_no_frames(spelling: str) -> None:
    with pytest.raises(EdgeAdaptError):
        list(frames(spelling, io.BytesIO()))
