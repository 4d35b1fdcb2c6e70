"""Render the sample photos: eight small parts, each photographed fifteen times.

    python samples/photo_studio/render_photos.py          # rewrites samples/photos/, in about six minutes on two cores

A part is a solid described by its distance function (parts.py). For each photo it falls onto a surface and comes to
rest, a room is furnished and lit, and a phone is held over it. The five support photos and the ten query photos are taken on
different surfaces, in different rooms and with different phones.

Needs numpy and Pillow. The random stream is `numpy.random.RandomState`, which NumPy promises never to change; rays are traced in
32-bit floats, so that machines may differ by a grey level here and there.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.samples.photo_studio.light import Lamp, black_body, room
from edge_adapt.samples.photo_studio.parts import PARTS
from edge_adapt.samples.photo_studio.phone import Phone, develop
from edge_adapt.samples.photo_studio.renderer import Scene, View, render
from edge_adapt.samples.photo_studio.surfaces import EXTENT, QUERY, SUPPORT, Surface
from edge_adapt.samples.photo_studio.tracing import Body, at_rest, hull

WIDTH, HEIGHT = 640, 480
SAMPLES = 4  # rays a pixel near the part
QUALITIES = (84, 80, 76, 72, 68, 64, 60, 56, 52)
MOST_BYTES = 24_500  # of a photo, if the lowest quality allows: a hundred of them are to fit into a small wheel
PHOTOS = Path(__file__).resolve().parents[1] / "photos"

ROLES = {"support": SUPPORT, "query": QUERY}


@dataclass(frozen=True)
class Light:
    """How a room may be lit: colour temperatures of lamps and of the rest, heights and sizes of lamps, brightness of the rest."""

    lamps: tuple[float, float]
    fill: tuple[float, float]
    height: tuple[float, float]
    radius: tuple[float, float]
    brightness: tuple[float, float]
    square: bool


LIGHTS = {
    "support": (
        Light((5600, 6800), (5200, 6500), (0.35, 0.7), (0.22, 0.4), (0.25, 0.4), True),  # a window
        Light((3600, 4300), (3600, 4300), (0.75, 0.95), (0.12, 0.25), (0.3, 0.45), False),  # an office
    ),
    "query": (
        Light((2700, 3200), (2800, 3600), (0.5, 0.9), (0.06, 0.13), (0.12, 0.25), False),  # a desk lamp in the evening
        Light((6500, 8500), (6500, 9000), (0.5, 0.9), (0.45, 0.7), (0.4, 0.6), True),  # an overcast day
        Light((5200, 5600), (5800, 7200), (0.45, 0.8), (0.03, 0.05), (0.15, 0.3), False),  # the sun
        Light((4000, 5000), (3000, 4200), (0.6, 0.9), (0.15, 0.3), (0.25, 0.4), True),  # lamps of several colours
    ),
}


def random_state(*words: str) -> RandomState:
    """A random stream of its own for each name, so that adding a part leaves the others as they are."""
    return RandomState([crc32(word.encode()) for word in words])


def photo(part: str, role: str, place: str, height: int = HEIGHT, samples: int = SAMPLES) -> Image.Image:
    """The part, photographed on that surface: RGB, 4:3."""
    random = random_state(part, role, place)
    surface = ROLES[role][place](random)
    scene, phone, illuminant = set_up(part, role, surface, random)
    width = height * WIDTH // HEIGHT
    light, depth = render(scene, width, height, samples, random)
    return Image.fromarray(develop(light, depth, illuminant, phone, random))


def set_up(part: str, role: str, surface: Surface, random: RandomState) -> tuple[Scene, Phone, NDArray[np.float64]]:
    """Everything about a photo but the light that reaches it: scene, phone, and the colour of the light."""
    opened = 1.0 if random.uniform() < 0.7 else float(random.uniform())
    points, centre = shape_of(part, opened if part == "hinge" else 1.0)
    rotation, height = at_rest(random, points, centre)
    middle = rotation @ centre
    # The centre of mass is above the origin.
    position = np.array((-middle[0], -middle[1], height))
    solid = PARTS[part]
    body = Body(solid.shape(opened), solid.half, rotation.astype(np.float32), position.astype(np.float32))
    outline = points[:, :3] @ rotation.T + position
    view = frame(outline, role, random)
    lamps, kelvin, brightness = lamps_of(role, random)
    furnished = room(random, surface.albedo.mean(axis=(0, 1)).astype(np.float64), kelvin, lamps, brightness)
    grain = random.uniform(-1, 1, (32, 32, 32, 3)).astype(np.float32)
    turn, shift = random.uniform(0, 2 * np.pi), tuple(random.uniform(0, EXTENT, 2))
    scene = Scene(body, solid.material, grain, surface, turn, (shift[0], shift[1]), furnished, view)
    total = sum(np.array(lamp.colour) for lamp in lamps) + black_body(kelvin) * brightness
    distance = float(np.linalg.norm(view.place - (0, 0, position[2])))
    return scene, phone_of(role, distance, random), np.asarray(total / total[1])


@cache
def shape_of(part: str, opened: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return hull(PARTS[part].shape(opened), PARTS[part].half)


def frame(outline: NDArray[np.float64], role: str, random: RandomState) -> View:
    """Hold the camera so that the part fills a fair part of the picture and is all in it."""
    elevation = np.radians(random.uniform(48, 84) if role == "support" else random.uniform(34, 88))
    azimuth, roll = random.uniform(0, 2 * np.pi), np.radians(random.normal(0, 6))
    half_height = np.tan(np.radians(random.uniform(22, 27) if role == "support" else random.uniform(14, 27)))
    fill = random.uniform(0.70, 0.84) if role == "support" else random.uniform(0.64, 0.88)
    back = np.array((np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)))
    right = np.cross((0, 0, 1), back)
    right /= np.linalg.norm(right)
    down = np.cross(-back, right)
    right, down = right * np.cos(roll) + down * np.sin(roll), down * np.cos(roll) - right * np.sin(roll)
    axes = np.stack([right, down, -back])
    target = (outline.min(axis=0) + outline.max(axis=0)) / 2
    distance = 6.0
    for _ in range(6):
        seen = (outline - target - back * distance) @ axes.T
        flat = seen[:, :2] / seen[:, 2:]
        extent = np.ptp(flat, axis=0)
        target = target + axes[:2].T @ ((flat.max(axis=0) + flat.min(axis=0)) / 2) * distance
        distance *= float(extent.max()) / (2 * half_height * fill)
    aside = random.uniform(-1, 1, 2) * np.maximum(0.85 * 2 * half_height - extent, 0) / 2 * 0.7
    target = target + axes[:2].T @ aside * distance
    return View((target + back * distance).astype(np.float32), axes.astype(np.float32), float(half_height))


def lamps_of(role: str, random: RandomState) -> tuple[Sequence[Lamp], float, float]:
    """One to three lamps, and the colour temperature and the brightness of the rest of the room."""
    kind = LIGHTS[role][random.randint(len(LIGHTS[role]))]
    lamps = []
    azimuth = random.uniform(0, 2 * np.pi)
    for index in range(random.randint(1, 3 if role == "support" else 4)):
        z = random.uniform(*kind.height)
        across = np.sqrt(1 - z * z)
        strength = random.uniform(0.7, 1.1) * 0.5**index
        colour = black_body(random.uniform(*kind.lamps)) * strength
        direction = (float(across * np.cos(azimuth)), float(across * np.sin(azimuth)), float(z))
        lamps.append(Lamp(direction, random.uniform(*kind.radius), (colour[0], colour[1], colour[2]), kind.square))
        azimuth += random.uniform(1.2, 3.5)
    return lamps, random.uniform(*kind.fill), random.uniform(*kind.brightness)


def phone_of(role: str, distance: float, random: RandomState) -> Phone:
    """A phone in someone's hand."""
    wide = role == "query"
    gains = np.exp(random.normal(0, 0.035 if wide else 0.02, 3))
    return Phone(
        focus=distance * np.exp(random.normal(0, 0.035 if wide else 0.02)),
        aperture=random.uniform(2, 16 if wide else 9),
        shake=abs(random.normal(0.3, 0.35 if wide else 0.2)),
        exposure=random.normal(0.1, 0.35 if wide else 0.2),
        balance=random.uniform(0.6, 0.95) if wide else random.uniform(0.8, 0.95),
        tint=(float(gains[0]), 1.0, float(gains[2])),
        noise=random.uniform(0.002, 0.012 if wide else 0.007),
        saturation=random.uniform(0.9, 1.15),
        contrast=random.uniform(0.97, 1.08),
        vignette=random.uniform(0.05, 0.35 if wide else 0.2),
    )


def name_of(role: str, place: str) -> str:
    """The file of a photo, numbered through both folders."""
    return f"photo{[*SUPPORT, *QUERY].index(place) + 1:02d}.jpg"


def encode(image: Image.Image) -> bytes:
    """A JPEG of the best quality that fits."""
    for quality in QUALITIES:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True, progressive=True)
        if stream.tell() <= MOST_BYTES:
            break
    return stream.getvalue()


def _save(job: tuple[str, str, str]) -> None:
    part, role, place = job
    path = PHOTOS / role / part / name_of(role, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(photo(part, role, place)))


def main() -> None:
    jobs = [(part, role, place) for part in PARTS for role, places in ROLES.items() for place in places]
    if PHOTOS.exists():
        shutil.rmtree(PHOTOS)
    with ProcessPoolExecutor(2) as pool:
        for done, _ in enumerate(pool.map(_save, jobs), 1):
            print(f"\r{done} of {len(jobs)} photos", end="", flush=True)
    print(f" in {PHOTOS}")


if __name__ == "__main__":
    main()
