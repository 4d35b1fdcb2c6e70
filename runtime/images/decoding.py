"""Encoded images and arrays to pixels, and what cannot be decoded in one sentence.

A format is recognised by its first bytes, never by its suffix, and only its own Pillow plugin is imported; pillow-heif has that
of HEIC.
"""

from __future__ import annotations

import ctypes
import importlib
import io
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.images.headers import bytes_beside_image, webp_canvas
from edge_adapt.runtime.images.memory import room
from edge_adapt.runtime.words import install, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt
    from PIL import ImageFile

MAX_PIXELS = 178_956_970  # twice Pillow's Image.MAX_IMAGE_PIXELS, where Pillow itself stops
MAX_SIDE = 65_535  # JPEG's bound; beyond it Pillow's crops get coarse, whose corners are 32-bit floats

_ORIENTATION = 0x0112  # the EXIF tag
_SIDEWAYS = (5, 6, 7, 8)  # its values that swap width and height
_REDUCING_GAP = 3  # at 2, pixels change by twice as much (root mean square), and decoding is hardly faster
_LARGE = 4_000_000  # pixels of an image that is reduced to what is needed of it as soon as it is decoded
_LONGEST = 4  # sides of such an image to each other, in units of those of the size that it is for
_BAND = 1_000_000  # pixels that are converted together
_BESIDE = {"AVIF": 8, "HEIF": 4}
"""Bytes a pixel that the libraries of these formats take beside Pillow's image, the largest that were measured."""
_DECODED_IN_PYTHON = ("ppm", "ppm_plain", "bmp_rle")  # by Pillow, some microseconds a pixel
_MOST_IN_PYTHON = 800_000
_READABLE = "JPEG, PNG, GIF, BMP, WebP, TIFF and PPM"
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))
_HEIF_BRANDS = frozenset((b"mif1", b"mif2", b"msf1"))  # of either; the compatible brands say which
_UNREADABLE = {
    "Heif": f"{{}} is a HEIC photo, as iPhones take them, which cannot be read here: {install('heic')} brings what reads it; or "
    "convert it to JPEG, or set the camera to Most Compatible (Settings, Camera, Formats).",
    "Avif": "{} is an AVIF image, which cannot be read here: install Pillow 11.3 or newer, or convert it to JPEG or PNG.",
}


def decode(data: bytes, name: str, size: tuple[int, int] | None = None) -> Image.Image:
    """All pixels of an encoded image, upright, in mode L, RGB or RGBA; `size` as in `load_image`."""
    if not data:
        raise ImageError(f"{name} is empty (0 bytes), so there is no image in it.")
    plugin = _plugin(data, name)
    opener = _opener(plugin, name)
    beside = len(data) + bytes_beside_image(data, plugin, name)
    if plugin == "WebP":  # its decoder takes all of its memory when it is opened
        width, height, each = webp_canvas(data)
        if each:
            _check_size(width, height, name)
        with room(beside + each * width * height, name):
            return _reduced(pixels_of(_opened(opener, data, name), name), size)
    image = _opened(opener, data, name)
    _check_size(*image.size, name)
    if image.width * image.height > _MOST_IN_PYTHON and any(tile[0] in _DECODED_IN_PYTHON for tile in image.tile):
        raise ImageError(
            f"{name} has {image.width} x {image.height} pixels in a kind of {image.format} of which {_MOST_IN_PYTHON:,} are read "
            "here: save it as PNG."
        )
    box = _draft(image, size)
    with room(beside + _bytes_to_decode(image, may_turn=plugin == "Png" and b"eXIf" in data), name):
        pixels = _reduced(pixels_of(image, name, box), size)
        del image  # before others take its room
    return pixels


def _opened(opener: Callable[[io.BytesIO], ImageFile.ImageFile], data: bytes, name: str) -> ImageFile.ImageFile:
    """An image whose header is read and whose pixels are not yet."""
    try:
        return opener(io.BytesIO(data))
    except Exception as error:  # plugins raise SyntaxError, struct.error, KeyError and more on damaged files
        raise _damaged(name, error) from error


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


def _opener(plugin: str, name: str) -> Callable[[io.BytesIO], ImageFile.ImageFile]:
    """A plugin's own class; Image.open imports every plugin for what it does not know, and warns on standard error."""
    try:
        module = importlib.import_module("pillow_heif" if plugin == "Heif" else f"PIL.{plugin}ImagePlugin")
        if plugin == "Avif" and not module.SUPPORTED:  # a Pillow that was built without libavif
            raise ImportError
    except ImportError:
        raise ImageError(_UNREADABLE[plugin].format(name)) from None
    if plugin == "Tiff":
        _silence_libtiff()
    opener: Callable[[io.BytesIO], ImageFile.ImageFile] = getattr(module, f"{plugin}ImageFile")
    return opener


@cache
def _silence_libtiff() -> None:
    """Take from libtiff its handlers, which print on standard error, in its own words, what our error then says.

    They are found through Pillow's module, as the system's loader finds them; not on Windows, where libtiff is part of that.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__)
        for setter in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
            setter.argtypes, setter.restype = [ctypes.c_void_p], ctypes.c_void_p
            setter(None)


def pixels_of(image: Image.Image, name: str, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    """All pixels of an opened image, upright, in mode L, RGB or RGBA; of a drafted one those in the box of the draft."""
    _check_size(*image.size, name)
    try:
        image.load()
        if box is not None:
            # A side that the scale does not divide ends within its last pixel; taken as it is, the picture would be stretched.
            whole = (round(box[2]), round(box[3]))
            image = image if box[2:] == whole else image.resize(whole, Image.Resampling.BILINEAR, box=box)
        return to_8_bit(_upright(image))
    except Exception as error:  # as in _opened
        too_little = isinstance(error, MemoryError) or "out of memory" in str(
            error
        )  # as Pillow says it of its decoders
        if not too_little:
            raise _damaged(name, error) from error
        raise ImageError(
            f"{name} cannot be decoded: there is not enough memory for its {image.width} x {image.height} pixels; scale it down."
        ) from error


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels, but at most {MAX_PIXELS:,} in all and {MAX_SIDE:,} "
            "a side are read here: scale it down first."
        )
    if width * height == 0:
        raise ImageError(f"{name} has {width} x {height} pixels, so there is nothing to see in it.")


def _draft(image: Image.Image, size: tuple[int, int] | None) -> tuple[float, float, float, float] | None:
    """Have an opened JPEG decoded at the reduced scale that `size` allows, by libjpeg's DCT scaling; the box that it fills.

    The colours are left as they are: libjpeg's own grey differs from Pillow's by rounding.
    """
    if size is None or image.format != "JPEG":  # a HEIC's draft is its thumbnail, another picture
        return None
    width, height = size[::-1] if _orientation(image) in _SIDEWAYS else size
    # The smallest of full, 1/2, 1/4 and 1/8 size at which both sides are at least as large as asked for; full, if none is.
    drafted = image.draft(None, (_REDUCING_GAP * width, _REDUCING_GAP * height))
    return None if drafted is None else drafted[1]


def _bytes_to_decode(image: Image.Image, may_turn: bool) -> int:
    """What an opened image takes until it is decoded, upright, of 8 bits, and flattened: Pillow's images, and their copies."""
    mode, opaque = image.mode, "transparency" not in image.info and not image.mode.endswith(("A", "a"))
    stored = 1 if mode in ("1", "L", "P") else 2 if mode.startswith("I;16") else 4
    each = stored * (2 if may_turn or _orientation(image) != 1 else 1)
    if mode not in ("L", "RGB", "RGBA") or (mode != "RGBA" and not opaque):
        each += 1 if mode in ("1", "I", "F") or mode.startswith("I;16") else 4
    if not opaque:
        each += 5  # the alpha channel, and white to put the image on
    each += _BESIDE.get(image.format or "", 0)
    return each * image.width * image.height


def _reduced(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    """What `preprocess` needs of a large image, so that little of it is left where several wait for their turn.

    As a JPEG is, it is decoded to a scale at which its central part is 3 times as large as `size` or larger.
    """
    if size is None or image.width * image.height <= _LARGE:
        return image
    image = on_white(image)
    longest = (image.height * size[0] * _LONGEST // size[1], image.width * size[1] * _LONGEST // size[0])
    across, down = (max(0, side - most) // 2 for side, most in zip(image.size, longest, strict=True))
    if across or down:
        image = image.crop((across, down, image.width - across, image.height - down))
    factor = min(side // (_REDUCING_GAP * wanted) for side, wanted in zip(image.size, size, strict=True))
    return image.reduce(factor) if factor > 1 else image


def on_white(image: Image.Image) -> Image.Image:
    """An image of mode L, RGB or RGBA with white where it is transparent."""
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _orientation(image: Image.Image) -> int:
    try:
        # Not a plugin's own: that of PNG decodes the image, for what may stand behind its pixels.
        return int(Image.Image.getexif(image).get(_ORIENTATION, 1))
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
        return _in_bands(image, lambda values: np.clip(values, 0, 65535) >> 8)
    if mode == "F":
        # Floats carry no range: take the smallest usual one that holds the brightest pixel.
        brightest = max(float(np.nan_to_num(np.asarray(band), nan=0.0).max()) for _, band in _bands(image))
        largest = next((top for top in (1.0, 255.0) if brightest <= top), 65535.0)
        return _in_bands(
            image, lambda values: np.rint(np.clip(np.nan_to_num(values, nan=0.0) / largest, 0.0, 1.0) * 255.0)
        )
    if mode == "P":
        alpha = image.palette is not None and image.palette.mode.endswith("A")
        return image.convert("RGBA" if alpha else "RGB")
    if mode == "La":
        image = image.convert("LA")
    return image.convert("RGBA" if mode.endswith(("A", "a")) else "RGB")


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in bands of rows, each with the row that it begins at: arrays of all of it take several times its memory."""
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _in_bands(image: Image.Image, to_bytes: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Image.Image:
    """An image of one channel in mode L."""
    result = Image.new("L", image.size)
    for top, band in _bands(image):
        result.paste(Image.fromarray(to_bytes(np.asarray(band)).astype(np.uint8)), (0, top))
    return result


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
