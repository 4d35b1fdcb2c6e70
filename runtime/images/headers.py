"""What the header of an image file tells before Pillow sees it: what it would cost, and what no honest file has.

Pillow reads headers byte by byte in Python, and libjpeg goes over all pixels once for every scan that a file claims.
"""

from __future__ import annotations

import re
import struct

from edge_adapt.runtime.errors import ImageError

MOST_SCANNED = 2_000_000_000
"""Pixels times scans of a JPEG; 3 seconds of work. Progressive photos have some ten scans."""
_MOST_MARKERS = 20_000  # of a JPEG: EXIF data, colour profiles and tables are some dozens
_MOST_JUNK = 65_536  # bytes between the markers of a JPEG, outside its scans
_MOST_CHUNKS = 100_000  # of a PNG: pixels are cut into pieces of 8 KB or more
_MOST_TILES = 250_000  # of a TIFF, and other values of one tag
_MOST_PPM_HEADER = 4096
_MOST_PPM_COMMENTS = 100

_MARKER = re.compile(rb"\xff[\x01-\xfe]")
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_ALONE = (0x01, *range(0xD0, 0xD8))  # markers without a segment
_SOI, _EOI, _SOS, _DHT, _JPG, _DAC = 0xD8, 0xD9, 0xDA, 0xC4, 0xC8, 0xCC
_WEBP_EXIF, _WEBP_ALPHA = 0x08, 0x10  # flags of VP8X
_PPM_HEADER = re.compile(rb"P(?:[14](?:(?:\s|#[^\r\n]*[\r\n])+\d+){2}|[2356](?:(?:\s|#[^\r\n]*[\r\n])+\d+){3})\s")
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _ROWS, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 278, 322, 323  # tags of TIFF
_TIFF_SHORT = 3
_TIFF_NUMBERS = (3, 4, 5, 8, 9, 10, 11, 12)  # types that Pillow unpacks to Python's numbers, unlike bytes and text


def bytes_beside_image(data: bytes, plugin: str, name: str) -> int:
    """What decoding takes beside Pillow's image, as the header tells it; `plugin` is the stem of the Pillow plugin.

    Raises:
        ImageError: the file would keep the decoder busy with what is no picture.
    """
    if plugin == "Jpeg":
        return _jpeg_coefficients(data, name)
    if plugin == "Tiff":
        return _tiff_strip(data, name)
    if plugin == "Png":
        _check_png(data, name)
    elif plugin == "Ppm":
        _check_ppm(data, name)
    return 0


def _jpeg_coefficients(data: bytes, name: str) -> int:
    """The coefficients of a JPEG of several scans, which libjpeg keeps for all pixels at whatever scale it decodes."""
    at, pixels, samples, components, progressive = 2, 0, 0.0, 0, False
    for _ in range(_MOST_MARKERS):
        found = _MARKER.search(data, at, at + _MOST_JUNK)
        if found is None and len(data) > at + _MOST_JUNK:
            raise _hostile(name, f"more than {_MOST_JUNK:,} bytes between two markers")
        if found is None or data[found.end() - 1] in (_SOI, _EOI):
            return 0
        code, at = data[found.end() - 1], found.end()
        if code in _ALONE:
            continue
        if code == _SOS:
            break
        if 0xC0 <= code <= 0xCF and code not in (_DHT, _JPG, _DAC) and len(data) >= at + 8:
            height, width, components = struct.unpack_from(">HHB", data, at + 3)
            factors = [(value >> 4, value & 15) for value in data[at + 9 : at + 8 + 3 * components : 3]]
            whole = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
            pixels, samples = width * height, sum(across * down for across, down in factors) / max(whole, 1)
            progressive = code in _PROGRESSIVE
        at += int.from_bytes(data[at : at + 2], "big")
    else:
        raise _hostile(name, f"more than {_MOST_MARKERS:,} markers")
    if not progressive and data[at + 2 : at + 3] == bytes(
        [components]
    ):  # all of it is in this scan; others are not looked at
        return 0
    scans = 1 + data.count(bytes((0xFF, _SOS)), at)  # an FF within a scan is followed by 00
    if scans * pixels > MOST_SCANNED:
        raise _hostile(name, f"{scans:,} scans over {pixels:,} pixels")
    return round(2 * pixels * samples)


def webp_canvas(data: bytes) -> tuple[int, int, int]:
    """The width and height of a WebP, and the bytes a pixel that it takes in all; zeros where its header is cut short.

    They are two canvases of 4, a copy, and Pillow's image; 4 more where EXIF data may turn it, and 5 to put it on white.
    """
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0, 0
    if kind == b"VP8X":
        each = 16 + (4 if body[0] & _WEBP_EXIF else 0) + (5 if body[0] & _WEBP_ALPHA else 0)
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1, each
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 21
    width, height = struct.unpack_from("<HH", body, 6)
    return width & 0x3FFF, height & 0x3FFF, 16


def _check_png(data: bytes, name: str) -> None:
    at = 8
    for _ in range(_MOST_CHUNKS):
        if at >= len(data):
            return
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise _hostile(name, f"more than {_MOST_CHUNKS:,} chunks")


def _tiff_strip(data: bytes, name: str) -> int:
    """A strip or tile of a TIFF, which libtiff decodes at once."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack(order + "I", data[4:8].ljust(4, b"\0"))
    (entries,) = struct.unpack(order + "H", data[at : at + 2].ljust(2, b"\0"))
    table = data[at + 2 : at + 2 + 12 * entries]
    values = {_WIDTH: 0, _HEIGHT: 0, _BITS: 1, _SAMPLES: 1}
    for tag, kind, count, offset in struct.iter_unpack(order + "HHII", table[: len(table) // 12 * 12]):
        if kind in _TIFF_NUMBERS and count > _MOST_TILES:
            raise _hostile(name, f"{count:,} values in one tag")
        short = kind == _TIFF_SHORT
        inline = offset & 0xFFFF if order == "<" else offset >> 16  # of the first of two
        first = int.from_bytes(data[offset : offset + 2], "little" if order == "<" else "big")
        values[tag] = offset if not short else inline if count <= 2 else first
    rows = min(values.get(_ROWS, values[_HEIGHT]), values[_HEIGHT])
    pixels = max(values[_WIDTH] * rows, values.get(_TILE_WIDTH, 0) * values.get(_TILE_HEIGHT, 0))
    return pixels * values[_SAMPLES] * values[_BITS] // 8


def _check_ppm(data: bytes, name: str) -> None:
    if len(data) > _MOST_PPM_HEADER and not _PPM_HEADER.match(data, 0, _MOST_PPM_HEADER):
        raise _hostile(name, f"a header of more than {_MOST_PPM_HEADER:,} bytes")
    if data[1:2] in b"123" and data.count(b"#") > _MOST_PPM_COMMENTS:
        raise _hostile(name, f"more than {_MOST_PPM_COMMENTS} comments")


def _hostile(name: str, fault: str) -> ImageError:
    return ImageError(f"{name} has {fault}, as no photo has: save it again with another program.")
