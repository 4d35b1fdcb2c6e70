"""Images, read from any source and checked."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

import numpy as np
from PIL import Image

from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.decoding import decode, from_array, pixels_of
from edge_adapt.runtime.words import reason

if TYPE_CHECKING:
    import numpy.typing as npt

ImageSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | npt.NDArray[np.uint8]"
)
"""A path, the bytes of an image file, a file open for reading them, a PIL image, or a uint8 array [H, W] or [H, W, C] with C of 1
(grey), 3 (RGB) or 4 (RGBA)."""

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
        # Not decoded everywhere, but photos all the same: opening one names the remedy, passing over it hides it.
        *(".heic", ".heif", ".hif", ".avif"),
    )
)
"""Lower-case suffixes of the files in a folder or zip that are taken for images."""

MAX_ENCODED_BYTES = 128 * 1024 * 1024

_LOADING = threading.Lock()  # a PIL image, which may be given twice, reads its file and its EXIF data when first asked


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A decoded image, upright (EXIF orientation applied), of Pillow mode L, RGB or RGBA, 8 bits a channel.

    Attributes:
        name: what messages call it.
        image: it; smaller than the file says where `load_image` was told which size is needed.
        encoded: the bytes of the file that it was read from, if it was.
    """

    name: str
    image: Image.Image
    encoded: bytes | None = field(default=None, repr=False)

    @cached_property
    def sha256(self) -> str:
        """Identifies the image, in hexadecimal.

        For a path or bytes it is the SHA-256 of the encoded file. For a PIL image or an array it is the SHA-256 of the ASCII
        line "HEIGHT WIDTH CHANNELS\\n" (1, 3 or 4 channels) followed by the upright 8-bit pixels, row by row, channels
        interleaved: an array and the PIL image made from it have the same one.
        """
        if self.encoded is not None:
            return hashlib.sha256(self.encoded).hexdigest()
        header = f"{self.image.height} {self.image.width} {len(self.image.getbands())}\n".encode("ascii")
        return hashlib.sha256(header + self.image.tobytes()).hexdigest()


class UnreadImage(Protocol):
    """An image that is read when it is needed: a file in a folder or zip, or what `named` makes of any image."""

    @property
    def name(self) -> str:
        """What the image is called where it is kept."""

    def load(self, size: tuple[int, int] | None = None) -> LoadedImage:
        """See `load_image`."""


@dataclass(frozen=True, eq=False)
class NamedImage:
    """Any image, to be read later.

    Attributes:
        name: see `UnreadImage`.
        source: the image.
        shown: what messages call it.
        bgr: it is an array whose channels are blue, green, red, as OpenCV gives them; see `rgb`.
    """

    name: str
    source: ImageSource
    shown: str
    bgr: bool = False

    def load(self, size: tuple[int, int] | None = None) -> LoadedImage:
        """See `load_image`."""
        return load_image(rgb(self.source, self.shown) if self.bgr else self.source, self.shown, size)


def named(image: ImageSource, shown: str = "image", bgr: bool = False) -> UnreadImage:
    """Any image, to be read later; a path is its name, and what messages call it; else that is `shown`."""
    if isinstance(image, (str, os.PathLike)):
        path = os.fsdecode(image)
        return NamedImage(path, image, path, bgr)
    return NamedImage("image", image, shown, bgr)


def rgb(image: object, name: str = "image") -> npt.NDArray[np.uint8]:
    """An array [H, W, 3] or [H, W, 4] in the order blue, green, red as one in the order red, green, blue; a grey one as it is.

    Raises:
        ImageError: it is no array; of anything else the order is known.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"{name} is of type {type(image).__name__}, but bgr=True is for arrays as OpenCV gives them; leave it out."
        )
    if image.ndim != 3 or image.shape[2] not in (3, 4):
        return image
    return image[:, :, [2, 1, 0, 3][: image.shape[2]]]


def load_image(source: ImageSource, name: str = "", size: tuple[int, int] | None = None) -> LoadedImage:
    """Reads and decodes an image; of an animation or a multi-page file, the first frame.

    Args:
        source: see `ImageSource`.
        name: what messages call the image; by default the path, or "image" where there is none.
        size: the (width, height) that `preprocess` is to bring the whole image to, `Preprocessing.decoded_size`. A JPEG file
            much larger is then decoded at 1/2, 1/4 or 1/8 of its size, several times faster: its central part stays 3 times as
            large as `size` or larger, so that the antialiased resize of `preprocess` decides what is seen. None decodes at full
            size. A PIL image is its owner's, and is never reduced.

    Raises:
        ImageError: the file is missing, unreadable, empty, no image, of a format not read here, cut short,
            damaged, larger than `MAX_PIXELS` or `MAX_SIDE` or than the memory that images are given
            (`edge_adapt.runtime.images.memory`), or the array has another dtype or shape.
    """
    if isinstance(source, (str, os.PathLike)):
        name = name or os.fsdecode(source)
        source = read_file(source, name)
    name = name or "image"
    if isinstance(source, (bytearray, memoryview)):
        source = bytes(source)
    elif not isinstance(source, (bytes, np.ndarray, Image.Image)) and hasattr(source, "read"):
        source = _read_open(source, name)
    if isinstance(source, bytes):
        return LoadedImage(name, decode(source, name, size), source)
    if isinstance(source, np.ndarray):
        return LoadedImage(name, pixels_of(from_array(source, name), name))
    if isinstance(source, Image.Image):
        with _LOADING:
            return LoadedImage(name, pixels_of(source, name))
    raise ImageError(
        f"{name} is of type {type(source).__name__}, but an image is a path, the bytes of a file, "
        "a file open for reading, a PIL image or a uint8 array."
    )


def read_file(path: str | os.PathLike[str], name: str) -> bytes:
    """The bytes of an image file, at least one and at most `MAX_ENCODED_BYTES`.

    Raises:
        ImageError: the file is missing, a folder, unreadable, empty or too large; its message says `name`.
    """
    try:
        status = Path(path).stat()  # before opening: a pipe waits for a writer, and some devices never end
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise ImageError(f"{name} is a device or a pipe, but one image file is needed here.")
        if status.st_size > MAX_ENCODED_BYTES:
            raise ImageError(f"{name} is larger than an image may be ({MAX_ENCODED_BYTES >> 20} MiB).")
        with Path(path).open("rb") as file:
            data = file.read()
    except FileNotFoundError as error:
        raise ImageError(f"{name} does not exist; check the spelling of the path.") from error
    except IsADirectoryError as error:
        raise ImageError(f"{name} is a folder, but one image file is needed here.") from error
    except PermissionError as error:
        raise ImageError(f"{name} may not be read: permission denied.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read ({reason(error)}).") from error
    if not data:
        raise ImageError(f"{name} is empty (0 bytes), so there is no image in it; copy it again.")
    return data


def _read_open(file: BinaryIO, name: str) -> bytes:
    """What is left to read of an open file, within the limits of `read_file`."""
    try:
        data = file.read(MAX_ENCODED_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name} cannot be read ({reason(error)}).") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name} is a file open for reading text; open it for reading bytes, with mode 'rb'.")
    if len(data) > MAX_ENCODED_BYTES:
        raise ImageError(f"{name} is larger than an image may be ({MAX_ENCODED_BYTES >> 20} MiB).")
    return data
