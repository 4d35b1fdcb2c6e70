"""What decoding takes is bounded before it begins, for all threads together."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime.errors import EdgeAdaptError, ImageError
from edge_adapt.runtime.images import decoding, memory
from edge_adapt.runtime.images.headers import bytes_beside_image
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.memory import BUDGET_VARIABLE, budget, room
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from tests.encoded_images import encode, random_pixels
from tests.runtime.images.test_modes import png_of_16_bits

SIDE = 2100
"""Of an image that is large enough to be reduced."""

LARGEST = 96
"""MiB that such an image takes in any mode."""


def refusal(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(data, "photo", (8, 8))
    message = str(caught.value)
    assert message.startswith("photo ") and message.endswith(".") and message.isprintable()
    return message


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(before_pixels: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before_pixels + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def jpeg_of_scans(scans: int, side: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    data = encode(Image.new("RGB", (side, side)), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def tiff_of_strips(strips: int) -> bytes:
    entries = [(256, 4, 1, 100), (257, 4, 1, 100), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, strips, 8)]
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4 + 4 * strips)


def test_the_budget_is_what_the_environment_says_or_a_part_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUDGET_VARIABLE, raising=False)
    monkeypatch.setattr(memory, "_machine_memory", lambda: 512 << 20)
    assert budget() == 128 << 20
    monkeypatch.setattr(memory, "_machine_memory", lambda: 64 << 30)
    assert budget() == memory.MOST_BY_DEFAULT
    monkeypatch.setenv(BUDGET_VARIABLE, "1024")
    assert budget() == 1 << 30
    for wrong in ("0", "-1", "much", "1e3", "9" * 30):
        monkeypatch.setenv(BUDGET_VARIABLE, wrong)
        with pytest.raises(EdgeAdaptError, match=f"^{BUDGET_VARIABLE} is '.*'; set it to a number of MiB"):
            budget()


def test_an_image_waits_until_there_is_room_for_it() -> None:
    entered = threading.Event()

    def second() -> None:
        with room(budget() // 2 + 1, "second"):
            entered.set()

    with room(budget() // 2, "first"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.2)
    assert entered.wait(30)
    thread.join()


def test_what_may_be_kept_counts_until_it_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(memory, "budget", lambda: 100)
    monkeypatch.setattr(memory, "_kept", 0)
    monkeypatch.setattr(memory, "give_back", lambda: said.append("given back"))
    for name in "abcde":
        with room(40, name):
            said.append(name)
    assert said == ["a", "b", "given back", "c", "d", "given back", "e"]


MODES = {
    "RGB PNG": lambda image: encode(image, "PNG"),
    "RGBA PNG": lambda image: encode(image.convert("RGBA"), "PNG"),
    "palette PNG": lambda image: encode(image.quantize(64, Image.Quantize.FASTOCTREE), "PNG", transparency=0),
    "16-bit RGBA PNG": lambda image: png_of_16_bits(np.asarray(image.convert("RGBA")), 6),
    "16-bit grey PNG": lambda image: png_of_16_bits(np.asarray(image.convert("L"))[..., None], 0),
    "progressive JPEG": lambda image: encode(image, "JPEG", progressive=True),
    "WebP": lambda image: encode(image, "WEBP", method=0),
    "lossless WebP": lambda image: encode(image.convert("RGBA"), "WEBP", lossless=True, method=0, quality=0),
    "TIFF": lambda image: encode(image, "TIFF", compression="tiff_lzw"),
    "float TIFF": lambda image: encode(image.convert("L").convert("F"), "TIFF"),
    "CMYK TIFF": lambda image: encode(image.convert("CMYK"), "TIFF"),
    "GIF": lambda image: encode(image.quantize(64, Image.Quantize.FASTOCTREE), "GIF"),
    "BMP": lambda image: encode(image, "BMP"),
}

PEAK_OF_FOUR_THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from edge_adapt.runtime.images.headers import bytes_beside_image
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024

def work(data, pixels=Preprocessing(32, 32, 3)):
    preprocess(load_image(data, size=pixels.decoded_size).image, pixels)

small, large = (open(path, "rb").read() for path in sys.argv[1:])
work(small)
before = peak()
with ThreadPoolExecutor(4) as pool:
    list(pool.map(work, [large] * 8))
print(peak() - before)
"""


def test_fill_bytes_of_a_jpeg_are_read_once() -> None:
    """A run of them that no marker ends; seconds would be hours in a file of some megabytes."""
    data, began = b"\xff\xd8" + (b"\xff" * 60_000 + b"\x00\xff\xd0") * 5, time.perf_counter()
    bytes_beside_image(data, "Jpeg", "a.jpg")
    assert time.perf_counter() - began < 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "palette PNG")) for kind in MODES]
)
def test_four_threads_take_no_more_than_the_budget(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.fromarray(random_pixels((SIDE // 50, SIDE // 50, 3)))
    for name, side in (("small", 8), ("large", SIDE)):
        (tmp_path / name).write_bytes(MODES[kind](picture.resize((side, side))))
    monkeypatch.setenv(BUDGET_VARIABLE, str(LARGEST))
    command = [sys.executable, "-c", PEAK_OF_FOUR_THREADS, str(tmp_path / "small"), str(tmp_path / "large")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(result.stdout) <= LARGEST + 16


@pytest.mark.parametrize("kind", MODES)
def test_what_needs_more_than_the_budget_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "budget", lambda: 60_000)
    said = refusal(MODES[kind](Image.fromarray(random_pixels((200, 200, 3)))))
    assert f"photo takes {said.split()[2]} KB of memory to decode, and images are given 60 KB here" in said
    assert f"set {BUDGET_VARIABLE}, in MiB, to 1 or more." in said


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (jpeg_of_scans(600, 2000), "scans over 4,000,000 pixels"),
        (b"\xff\xd8\xff\xe0\0\2" + b"\xff\0" * 70_000, "between two markers"),
        (b"\xff\xd8" + b"\xff\xe0\0\2" * 30_000, "20,000 markers"),
        (png(chunk(b"teXt", b"") * 110_000), "100,000 chunks"),
        (tiff_of_strips(300_000), "300,000 values in one tag"),
        (b"P6\n#" + b"x" * 10_000 + b"\n1 1\n255\n\0\0\0", "a header of more than 4,096 bytes"),
        (b"P3\n1 1\n255\n" + b"#\n" * 3000 + b"0 0 0 ", "more than 100 comments"),
        (b"P6\n1000 1000\n254\n" + bytes(3_000_000), "1000 x 1000 pixels in a kind of PPM"),
    ],
)
def test_what_would_keep_the_decoder_busy_is_refused(data: bytes, fault: str) -> None:
    assert fault in refusal(data)


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"restart_marker_blocks": 1}, {"comment": b"\xff" * 60_000}]
)
def test_an_honest_jpeg_is_none_of_that(options: dict[str, object]) -> None:
    load_image(encode(Image.fromarray(random_pixels((300, 200, 3))), "JPEG", **options), size=(8, 8))


@pytest.mark.parametrize("kind", MODES)
@pytest.mark.parametrize("shape", [(300, 200), (40, 900)])
def test_a_large_image_is_reduced_and_shows_the_same(
    kind: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth = Image.fromarray(random_pixels((6, 6, 3))).resize(shape, Image.Resampling.BICUBIC)
    data, seen = MODES[kind](smooth), Preprocessing(8, 8, 3)
    expected = preprocess(load_image(data).image, seen).astype(int)
    monkeypatch.setattr(decoding, "_LARGE", 1000)
    loaded = load_image(data, size=seen.decoded_size).image
    assert max(loaded.size) <= 6 * 8 * 4
    assert np.abs(preprocess(loaded, seen) - expected).max() <= 12


def test_too_little_memory_is_not_called_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: Image.Image) -> None:
        raise MemoryError

    data = encode(Image.new("RGB", (30, 20)), "PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", no_memory)
    assert "not enough memory for its 30 x 20 pixels" in refusal(data)


def test_exif_data_behind_the_pixels_of_a_png_still_turn_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.new("RGB", (30, 20)), "PNG")
    behind = data[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + data[-12:]
    assert Image.open(io.BytesIO(behind)).size == (30, 20)
    assert load_image(behind).image.size == (20, 30)
