"""From an image to the pixels that a model takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.decoding import on_white, to_8_bit
from edge_adapt.runtime.images.views import LEAST_PART

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_MODEL_SIDE = 8192
GROUNDS = ("any", "light")


@dataclass(frozen=True)
class Preprocessing:
    """What `preprocess` makes of an image: uint8 [height, width, channels], channels 1 (grey) or 3 (RGB).

    `resize` and `crop` say how; they are recorded because a later version may know other ways.

    Attributes:
        part: of the largest central part with the shape of the pixels, how much is seen, in height and width; 0.1 to 1.
        ground: "any", or "light" for drawings: light strokes on a dark ground are turned over, into dark ones on a light ground.

    Raises:
        EdgeAdaptError: a size, a number of channels, a resize, a crop, a part or a ground that `preprocess` does not know.
    """

    height: int
    width: int
    channels: int
    resize: str = "bilinear"
    crop: str = "center"
    part: float = 1.0
    ground: str = "any"

    def __post_init__(self) -> None:
        if not (1 <= self.height <= MAX_MODEL_SIDE and 1 <= self.width <= MAX_MODEL_SIDE):
            raise EdgeAdaptError(
                f"An image size of {self.height} x {self.width} is not possible: "
                f"height and width are 1 to {MAX_MODEL_SIDE} pixels."
            )
        if self.channels not in (1, 3):
            raise EdgeAdaptError(
                f"Images of {self.channels} channels are not possible: a model takes 1 (grey) or 3 (RGB)."
            )
        if self.resize != "bilinear" or self.crop != "center":
            raise EdgeAdaptError(
                f"Preprocessing with resize {self.resize!r} and crop {self.crop!r} is unknown here: "
                "this version knows 'bilinear' and 'center'."
            )
        if not LEAST_PART <= self.part <= 1:
            raise EdgeAdaptError(
                f"A central part of {self.part:g} of an image is not possible; take {LEAST_PART} to 1."
            )
        if self.ground not in GROUNDS:
            raise EdgeAdaptError(
                f"The ground {self.ground!r} of images is unknown here: this version knows {' and '.join(map(repr, GROUNDS))}."
            )

    @property
    def decoded_size(self) -> tuple[int, int]:
        """The (width, height) of a whole image whose part has as many pixels as the model takes; for `load_image`."""
        return math.ceil(self.width / self.part), math.ceil(self.height / self.part)


def preprocess(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """Brings an image to the pixels that a model takes: one function for training, evaluation and devices.

    Transparency becomes white. The largest central part that has the target's aspect ratio, or `part` of it, is resized with
    an antialiased triangle filter; where the ground is to be light and is dark, in negative. 16-bit grey keeps its high byte.

    Returns:
        uint8 [height, width, channels], C-contiguous.
    """
    image = on_white(to_8_bit(image))  # before the resize: after it, hidden colours would have bled into visible ones
    mode = "L" if preprocessing.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    size = (preprocessing.width, preprocessing.height)
    box = _central_box(image.size, size, preprocessing.part)
    if preprocessing.ground == "light" and _has_dark_ground(image, box):
        image = ImageChops.invert(image)
    image = image.resize(size, Image.Resampling.BILINEAR, box=box)
    return np.array(image, dtype=np.uint8).reshape(preprocessing.height, preprocessing.width, -1)


def _central_box(size: tuple[int, int], target: tuple[int, int], part: float) -> tuple[float, float, float, float]:
    """`part` of the largest central part with the target's aspect ratio, as (left, upper, right, lower) in pixels."""
    (width, height), (target_width, target_height) = size, target
    across = down = 0.0
    if width * target_height > height * target_width:
        across = (width - height * target_width / target_height) / 2
    else:
        down = (height - width * target_height / target_width) / 2
    across += (width / 2 - across) * (1 - part)
    down += (height / 2 - down) * (1 - part)
    return (across, down, width - across, height - down)


def _has_dark_ground(image: Image.Image, box: tuple[float, float, float, float]) -> bool:
    """Whether what lies in the box is light strokes on a dark ground.

    Most pixels are ground, so that the median is its grey, and strokes, however thin, draw the mean to their side of it. Both
    move alike where the picture is taken too dark or is darker to one side.
    """
    left, upper, right, lower = (round(edge) for edge in box)
    seen = image.crop((left, upper, max(right, left + 1), max(lower, upper + 1))).convert("L")
    counts = np.array(seen.histogram())
    median = int(np.searchsorted(counts.cumsum(), counts.sum() / 2))
    mean = float(counts @ np.arange(256) / counts.sum())
    return median < mean if median != mean else median < 128
