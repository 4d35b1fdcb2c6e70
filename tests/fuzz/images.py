"""Hostile images by the thousand: python -m tests.fuzz.images [--count 5000] [--seed 0] [--keep FOLDER]

So many of each format. Each is a sound image of which a few parts are changed where they lie: chunks, segments, blocks and boxes
are lost, doubled, cut, filled and named otherwise, and numbers in them take extreme values; lengths and checksums are computed
anew, so that the code behind them is reached. Some bytes are damaged and some files cut. Each must be classified, or refused in
one sentence, by a process that decodes four side by side and holds at most 512 MiB.
"""

from __future__ import annotations

import functools
import random
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY
from tests.encoded_images import encode, random_pixels
from tests.fuzz.attempts import Fuzzer, damaged, run
from tests.fuzz.image_parts import LAYOUTS, Layout, Part
from tests.tiny_model import photos

MOST = 512
"""MiB: the budget of 368 for images, and a process with a model."""

_NUMBERS = (
    *(0, 1, 2, 3, 4, 8, 16, 255, 256, 4095, 8000, 10_000, 2**14, 30_000, 2**15 - 1, 2**15, 2**16 - 1),
    *(2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1),
)


@functools.cache
def sound_images(largest: int) -> dict[str, list[bytes]]:
    """Images of each format, in many of its modes and kinds, of which the largest have so many pixels a side."""
    colour = Image.fromarray(random_pixels((5, 6, 3))).resize((60, 50))
    grey, alpha, palette = colour.convert("L"), colour.convert("RGBA"), colour.quantize(32)
    alpha.putalpha(grey)
    broad = colour.resize((1600, 1200))
    large = colour.resize((largest, largest), Image.Resampling.NEAREST)
    deep = Image.fromarray(np.arange(3000, dtype=np.uint16).reshape(50, 60) * 20)
    turned = Image.Exif()
    turned[0x0112] = 6
    profile: dict[str, Any] = {"exif": turned.tobytes(), "icc_profile": random_pixels((3000,)).tobytes()}
    frames: dict[str, Any] = {"save_all": True, "append_images": [grey.convert("RGB"), colour.rotate(90)]}
    kinds: dict[str, list[tuple[Image.Image, dict[str, Any]]]] = {
        "JPEG": [
            (colour, {}), (grey, {}), (colour.convert("CMYK"), {}), (colour, {"progressive": True, **profile}),
            (colour, {"restart_marker_blocks": 2, "comment": b"x" * 300}), (large, {}), (large, {"progressive": True}),
        ],
        "PNG": [
            (colour, {}), (grey, {}), (alpha, {}), (palette, {"transparency": 3}), (colour.convert("1"), {}), (deep, {}),
            (colour, profile), (colour, frames), (large, {}),
        ],
        "WEBP": [
            (colour, {}), (colour, {"lossless": True}), (alpha, {}), (colour, profile), (colour, frames), (large, {}),
        ],
        "GIF": [(palette, {}), (palette, {"transparency": 3, "interlace": 1}), (colour, frames), (large.quantize(64), {})],
        "BMP": [(colour, {}), (grey, {}), (palette, {}), (colour.convert("1"), {}), (alpha, {}), (broad, {})],
        "TIFF": [
            *((colour, {"compression": kind}) for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
            (colour.convert("1"), {"compression": "group4"}), (grey.convert("F"), {}), (deep, {}), (palette, {}),
            (alpha, {}), (colour.convert("CMYK"), {}), (colour, frames), (broad, {}), (large, {"compression": "tiff_lzw"}),
        ],
        "PPM": [(colour, {}), (grey, {}), (colour.convert("1"), {}), (deep.convert("I"), {}), (broad, {})],
    }  # fmt: skip
    if features.check("avif"):
        kinds["AVIF"] = [
            (colour, {"speed": 9}),
            (alpha, {"speed": 9}),
            (colour, {"speed": 9, **profile}),
            (large, {"speed": 10}),
        ]
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
        thumbnail = {"exif": turned.tobytes(), "thumbnails": [16]}
        kinds["HEIF"] = [(colour, {}), (alpha, {}), (colour, thumbnail), (large, {})]
    return {kind: [encode(image, kind, **options) for image, options in images] for kind, images in kinds.items()}


def hostile(sound: list[bytes], layout: Layout, choose: random.Random) -> bytes:
    """An image of a format that is sound but for one to three changes of its parts, and perhaps of its bytes."""
    parts = layout.split(choose.choice(sound))
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        at = choose.randrange(len(parts))
        parts[at : at + 1] = choose.choice(_CHANGES)(parts[at], choose)
        if choose.random() < 0.1:
            parts[at:at] = choose.choices(layout.split(choose.choice(sound)), k=2)
        parts = parts or [Part(b"", b"")]
    data = layout.join(parts)
    for _ in range(choose.choice((0, 0, 0, 0, 1, 3))):
        data = damaged(data, choose)
    return data[: choose.randrange(len(data) + 1)] if choose.random() < 0.05 else data


def _lost(part: Part, choose: random.Random) -> list[Part]:
    return []


def _repeated(part: Part, choose: random.Random) -> list[Part]:
    times = choose.choice((2, 2, 10, 3000))
    return [part] * min(times, 1 + 10_000_000 // (len(part.body) + 1))


def _number(part: Part, choose: random.Random) -> list[Part]:
    """Another number where one may stand: in binary of 1, 2 or 4 bytes, or as text where there is text."""
    value = choose.choice(_NUMBERS)
    if part.body.strip().isdigit():
        return [Part(part.kind, b"%d\n" % value)]
    size = choose.choice((1, 2, 2, 4, 4))
    field = (value & 256**size - 1).to_bytes(size, choose.choice(("little", "big")))
    at = choose.randrange(min(len(part.body), choose.choice((8, 24, 100_000))) or 1)
    if size > 1:
        at -= at % 2 if choose.random() < 0.7 else 0
    return [Part(part.kind, part.body[:at] + field + part.body[at + size :])]


def _cut(part: Part, choose: random.Random) -> list[Part]:
    return [Part(part.kind, part.body[: choose.randrange(len(part.body) + 1)])]


def _filled(part: Part, choose: random.Random) -> list[Part]:
    filling = choose.choice((b"\0", b"\xff", b"9", b"\n", part.body[-10:], b"\xff\xda\0\2")) * choose.choice(
        (1, 100, 60_000)
    )
    return [Part(part.kind, part.body + filling)]


def _renamed(part: Part, choose: random.Random) -> list[Part]:
    return [Part(damaged(part.kind, choose)[: len(part.kind)].ljust(len(part.kind), b"x"), part.body)]


def _damaged(part: Part, choose: random.Random) -> list[Part]:
    return [Part(part.kind, damaged(part.body, choose))]


def _inflated(part: Part, choose: random.Random) -> list[Part]:
    """What is compressed, changed before it is; of anything else, a long run of compressed zeros."""
    try:
        body = damaged(zlib.decompress(part.body), choose)
    except zlib.error:
        body = bytes(choose.choice((1, 100_000, 30_000_000)))
    return [Part(part.kind, zlib.compress(body, 1))]


_CHANGES: tuple[Callable[[Part, random.Random], list[Part]], ...] = (
    *(_number,) * 6, *(_damaged,) * 3, _lost, _repeated, _cut, _filled, _renamed, _inflated,
)  # fmt: skip


@functools.cache
def _classifier() -> Classifier:
    return load_model(TINY, "cpu", threads=1).adapt(photos({"a": 2, "b": 2}))


def classify(file: Path) -> str:
    """What is done with one."""
    _classifier().classify(file)
    return "classified"


def fuzzers(largest: int) -> dict[str, Fuzzer]:
    """One a format; see `sound_images`."""
    return {
        kind: Fuzzer(f".{kind.lower()}", partial(hostile, sound, LAYOUTS[kind]), classify, most=MOST, threads=4)
        for kind, sound in sound_images(largest).items()
    }


if __name__ == "__main__":
    run(__doc__ or "", 5000, fuzzers(largest=4800))
