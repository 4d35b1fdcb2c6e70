"""What is wrong with a photo as a photo: too dark, blurred, or smaller than the model's input."""

from __future__ import annotations

import numpy as np
from PIL import Image

from edge_adapt.runtime.images.preprocessing import Preprocessing

_SIDE = 256  # pixels of the longer side that a photo is judged at
_DARK = 25  # of 255, on average: of 960 photos of eight data sets, the darkest has 29
_BLURRED = 0.1  # of the contrast: one sharp photo of a hundred has less, and half of those blurred by 2 of 256 pixels


def photo_fault(image: Image.Image, preprocessing: Preprocessing) -> tuple[str, str] | None:
    """What makes a photo a poor example, as one word (`small`, `dark` or `blurred`) and in words; None where nothing does.

    Args:
        image: mode L, RGB or RGBA, at the size of its file.
        preprocessing: of the model that is to see it.
    """
    seen = min(image.size) * preprocessing.part
    if seen < min(preprocessing.height, preprocessing.width):
        needed = round(min(preprocessing.height, preprocessing.width) / preprocessing.part)
        return "small", f"{image.width} x {image.height} pixels, and the model sees {needed}"
    grey = image.convert("L")
    grey.thumbnail((_SIDE, _SIDE), Image.Resampling.BILINEAR)
    pixels = np.asarray(grey, np.float32)
    if pixels.mean() < _DARK:
        return "dark", f"mean brightness {pixels.mean() / 255:.0%}"
    if min(pixels.shape) > 2:
        inner = pixels[1:-1, 1:-1]
        edges = 4 * inner - pixels[:-2, 1:-1] - pixels[2:, 1:-1] - pixels[1:-1, :-2] - pixels[1:-1, 2:]
        sharpness = float(edges.std() / max(pixels.std(), 1.0))
        if sharpness < _BLURRED and pixels.std() > 1:
            return "blurred", f"sharpness {sharpness:.2f}, where {_BLURRED} is the least"
    return None
