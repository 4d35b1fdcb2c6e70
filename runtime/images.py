"""Images: read from any source, checked, and brought to the pixels that a model takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preprocessing:
    """What `preprocess` makes of an image: uint8 [height, width, channels], channels 1 (grey) or 3 (RGB).

    `resize` and `crop` name how; a bundle of another version could name other ways, so they are recorded.
    """

    height: int
    width: int
    channels: int
    resize: str = "bilinear"
    crop: str = "center"
