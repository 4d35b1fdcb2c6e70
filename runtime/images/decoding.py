"""Encoded images and arrays to pixels, and what cannot be decoded in one sentence.

A format is recognised by its first bytes, never by its suffix, and only its own Pillow plugin is imported; pillow-heif has that
of HEIC.
"""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.words import install

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

MAX_PIXELS = 178_956_970  # twice Pillow's Image.MAX_IMAGE_PIXELS, where Pillow itself stops
MAX_SIDE = 65_535  # JPEG's bound; beyond it Pillow's crops get coarse, whose corners are 32-bit floats

_ORIENTATION = 0x0112  # the EXIF tag
_SIDEWAYS = (5, 6, 7, 8)  # its values that swap width and height
_REDUCING_GAP = 3  # at 2, pixels change by twice as much (root mean square), and decoding is hardly faster
_READABLE = "JPEG, PNG, GIF, BMP, WebP, TIFF and PPM"
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset((b"mif1", b"mif2", b"msf1"))  # of either; the compatible brands say which
_UNREADABLE = {
    "Heif": f"{{}} is a HEIC photo, as iPhones take them, which cannot be read here: {install('heic')} brings what reads it; or "
    "convert it to JPEG, or set the camera to Most Compatible (Settings, Camera, Formats).",
    "Avif": "{} is an AVIF image, which cannot be read here: install Pillow 11.3 or newer, or convert it to JPEG or PNG.",
}


def open_encoded(data: bytes, name: str) -> Image.Image:
    """An image whose header is read and whose pixels are not yet."""
    if not data:
        raise ImageError(f"{name} is empty (0 bytes), so there is no image in it.")
    plugin = _plugin(data, name)
    opener = _opener(plugin, name)
    try:
        image: Image.Image = opener(io.BytesIO(data))
    except Exception as error:  # plugins raise SyntaxError, struct.error, KeyError and more on damaged files
        raise _damaged(name, error) from error
    return image


def _plugin(data: bytes, name: str) -> str:
    """The stem of the Pillow plugin for an encoded image, judged by its first bytes."""
    for magic, plugin in (
        (b"\xff\xd8\xff", "Jpeg"),
        (b"\x89PNG\r\n\x1a\n", "Png"),
        (b"GIF8", "Gif"),
        (b"BM", "Bmp"),
        (b"II*\0", "Tiff"),
        (b"MM\0*", "Tiff"),
    ):
        if data.startswith(magic):
            return plugin
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return "Ppm"
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        compatible = {data[at : at + 4] for at in range(16, min(int.from_bytes(data[:4], "big"), 256), 4)}
        if brand in _AVIF_BRANDS or (brand in _HEIF_BRANDS and compatible & _AVIF_BRANDS):
            return "Avif"
        if brand in _HEIC_BRANDS | _HEIF_BRANDS:
            return "Heif"
    raise ImageError(f"{name} is not an image, or of an unknown format ({_READABLE} can be read).")


def _opener(plugin: str, name: str) -> Callable[[io.BytesIO], Image.Image]:
    """A plugin's own class; Image.open imports every plugin for what it does not know, and warns on standard error."""
    try:
        module = importlib.import_module("pillow_heif" if plugin == "Heif" else f"PIL.{plugin}ImagePlugin")
        if plugin == "Avif" and not module.SUPPORTED:  # a Pillow that was built without libavif
            raise ImportError
    except ImportError:
        raise ImageError(_UNREADABLE[plugin].format(name)) from None
    opener: Callable[[io.BytesIO], Image.Image] = getattr(module, f"{plugin}ImageFile")
    return opener


def pixels_of(image: Image.Image, name: str, size: tuple[int, int] | None = None) -> Image.Image:
    """All pixels of an opened image, upright, in mode L, RGB or RGBA; `size` as in `load_image`."""
    width, height = image.size
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels, but at most {MAX_PIXELS:,} in all and {MAX_SIDE:,} "
            "a side are read here: scale it down first."
        )
    if width * height == 0:
        raise ImageError(f"{name} has {width} x {height} pixels, so there is nothing to see in it.")
    try:
        return to_8_bit(_upright(_decoded(image, size)))
    except Exception as error:  # as in open_encoded
        raise _damaged(name, error) from error


def _decoded(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """All pixels of an opened image; of a JPEG, those of the reduced scale that `size` allows, by libjpeg's DCT scaling.

    The colours are left as they are: libjpeg's own grey differs from Pillow's by rounding.
    """
    if size is None or image.format != "JPEG":  # a HEIC's draft is its thumbnail, another picture
        image.load()
        return image
    width, height = size[::-1] if _orientation(image) in _SIDEWAYS else size
    # The smallest of full, 1/2, 1/4 and 1/8 size at which both sides are at least as large as asked for; full, if none is.
    drafted = image.draft(None, (_REDUCING_GAP * width, _REDUCING_GAP * height))
    image.load()
    if drafted is None:
        return image
    box = drafted[1]
    whole = (round(box[2]), round(box[3]))
    # A side that the scale does not divide ends within its last pixel; taken as it is, the picture would be stretched.
    return image if box[2:] == whole else image.resize(whole, Image.Resampling.BILINEAR, box=box)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # damaged EXIF data raises anything; as viewers do, take the intact pixels as they are
        return 1


def _upright(image: Image.Image) -> Image.Image:
    if _orientation(image) == 1:
        return image
    try:
        from PIL import ImageOps  # only photos held sideways need it

        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data raises anything; as viewers do, take the intact pixels as they are
        return image


def to_8_bit(image: Image.Image) -> Image.Image:
    """The same picture in mode L, RGB or RGBA."""
    mode = image.mode
    if "transparency" in image.info and mode in ("1", "L", "P", "RGB"):
        return image.convert("RGBA")
    if mode in ("L", "RGB", "RGBA"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode.startswith("I"):
        # Older Pillows open 16-bit PNGs as 32-bit I, newer ones as I;16: both hold 0 to 65535.
        return Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    if mode == "F":
        # Floats carry no range: take the smallest usual one that holds the brightest pixel.
        values = np.nan_to_num(np.asarray(image), nan=0.0)
        largest = next((top for top in (1.0, 255.0) if values.max() <= top), 65535.0)
        return Image.fromarray(np.rint(np.clip(values / largest, 0.0, 1.0) * 255.0).astype(np.uint8))
    if mode == "P":
        alpha = image.palette is not None and image.palette.mode.endswith("A")
        return image.convert("RGBA" if alpha else "RGB")
    if mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA" if mode.endswith(("A", "a")) else "RGB")


def from_array(array: npt.NDArray[Any], name: str) -> Image.Image:
    is_image = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if array.dtype != np.uint8 or not is_image or array.size == 0:
        raise ImageError(
            f"{name} is an array of {array.dtype} {list(array.shape)}, but an image is an array of uint8 "
            "[H, W] or [H, W, C] with C of 1, 3 or 4 and at least one pixel."
        )
    if array.shape[2:] == (1,):
        array = array[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(array))


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(f"{name} cannot be decoded ({reason(error)}): it is cut short or damaged; save it again.")


def reason(error: Exception) -> str:
    """The operating system's or Pillow's words, fit to stand in a sentence of ours."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".")
