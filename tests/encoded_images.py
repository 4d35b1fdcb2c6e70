"""Images in memory and as the bytes of a file."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from PIL import Image

FORMATS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))

Pixels = npt.NDArray[np.uint8]


def random_pixels(shape: tuple[int, ...], seed: int = 0) -> Pixels:
    """uint8, any value as likely."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    """The image as a file of this format."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()
