"""Photos of every mode, as files, through adapting and classifying with a colour model."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import preprocess
from edge_adapt.runtime.model import MetaModel
from tests.data import make_tiny
from tests.encoded_images import Pixels, encode
from tests.tiny_model import photos, predictions


def png_of_16_bits(pixels: Pixels, colour_type: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write: the high bytes are `pixels` [H, W, C], the low ones noise."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = pixels.shape
    noise = np.random.default_rng(0).integers(0, 256, pixels.shape)
    rows = (pixels.astype(np.uint16) * 256 + noise).astype(">u2")
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def with_alpha(pixels: Pixels, alpha: int) -> Pixels:
    return np.concatenate([pixels, np.full_like(pixels[..., :1], alpha)], axis=2)


def grey(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).convert("L"))


def same(pixels: Pixels) -> Pixels:
    return pixels


def as_grey(pixels: Pixels) -> Pixels:
    return np.repeat(grey(pixels)[..., None], 3, axis=2)


def on_white(pixels: Pixels) -> Pixels:
    return np.asarray(np.rint(pixels * (200 / 255) + 55), np.uint8)


KINDS: dict[str, tuple[Callable[[Pixels], bytes], Callable[[Pixels], Pixels], int]] = {
    # How the file is made, which colours it shows, and how far off they may be.
    "grey PNG": (lambda p: encode(Image.fromarray(grey(p)), "PNG"), as_grey, 0),
    "grey JPEG": (lambda p: encode(Image.fromarray(grey(p)), "JPEG", quality=100), as_grey, 3),
    "RGBA PNG": (lambda p: encode(Image.fromarray(with_alpha(p, 255)), "PNG"), same, 0),
    "RGBA PNG, translucent": (lambda p: encode(Image.fromarray(with_alpha(p, 200)), "PNG"), on_white, 1),
    "RGBA WebP": (lambda p: encode(Image.fromarray(with_alpha(p, 255)), "WEBP", lossless=True), same, 0),
    "CMYK JPEG": (lambda p: encode(Image.fromarray(p).convert("CMYK"), "JPEG", quality=100, subsampling=0), same, 6),
    "CMYK TIFF": (lambda p: encode(Image.fromarray(p).convert("CMYK"), "TIFF"), same, 1),
    "16-bit grey PNG": (lambda p: png_of_16_bits(grey(p)[..., None], 0), as_grey, 0),
    "16-bit grey TIFF": (lambda p: encode(Image.fromarray(grey(p).astype(np.uint16) * 257), "TIFF"), as_grey, 0),
    "16-bit RGB PNG": (lambda p: png_of_16_bits(p, 2), same, 0),
    "16-bit RGBA PNG": (lambda p: png_of_16_bits(with_alpha(p, 255), 6), same, 0),
    "palette PNG": (lambda p: encode(Image.fromarray(p).quantize(256), "PNG"), same, 12),
    "palette GIF": (lambda p: encode(Image.fromarray(p).quantize(256), "GIF"), same, 12),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_photo_of_any_mode_is_seen_in_its_colours(kind: str) -> None:
    make, shown, tolerance = KINDS[kind]
    for of_label in photos({"a": 1, "b": 1, "c": 1}).values():
        (pixels,) = of_label
        seen = preprocess(load_image(make(pixels)).image, make_tiny.PREPROCESSING)
        assert np.abs(seen.astype(int) - shown(pixels)).max() <= tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_a_colour_model_adapts_to_and_classifies_photos_of_any_mode(
    kind: str, tiny: MetaModel, classifier: Classifier, tmp_path: Path
) -> None:
    make = KINDS[kind][0]
    support: dict[str, list[Path]] = {}
    for label, of_label in photos({"a": 2, "b": 2, "c": 2}, seed=1).items():
        support[label] = []
        for shot, pixels in enumerate(of_label):
            path = tmp_path / f"{label}{shot}.jpg"  # whatever its format
            path.write_bytes(make(pixels))
            support[label].append(path)
    adapted = tiny.adapt(support)
    for label, of_label in photos({"a": 4, "b": 4, "c": 4}, seed=2).items():
        files = [make(pixels) for pixels in of_label]
        assert [adapted.classify(file).label for file in files] == [label] * 4
        if "grey" not in kind:  # colours are how these classes differ
            assert [prediction.label for prediction in predictions(classifier, files)] == [label] * 4
