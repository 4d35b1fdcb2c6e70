"""Renders a pressure gauge at values of its scale, as a phone held before it would take it, with NumPy and Pillow alone.

    python samples/gauge/render_gauges.py                    # the pictures of this folder
    python samples/gauge/render_gauges.py more --photos 200  # others, and a CSV that says what each reads

Needle and camera are drawn anew for each picture: direction, distance, roll, aim, exposure, colour and slope of the light, a
glare on the glass, the shadow of the needle, shake and noise.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).parent
MOST = 10.0
"""The end of the scale, in bar; it begins at 0."""

SIZE = 320
"""Pixels of a picture, in width and height."""

_SWEEP = 270.0  # degrees from 0 to MOST, clockwise; the gap is below
_FACE = 640  # pixels of the drawn face, whose rim has a radius of 0.42 of them
_RIM = 0.42
_SMOOTH = 2  # a picture is made this much larger, and then reduced


@dataclass(frozen=True)
class Scene:
    """Where the camera is and how the light falls.

    Attributes:
        yaw, pitch, roll: of the camera, in degrees; all 0 is straight before the gauge.
        distance: in widths of the face.
        aim: how far beside the centre it looks, across and down, in widths of the face.
        exposure: stops.
        tint: RGB gains.
        slope: of the light over the picture, across and down, in stops.
        glare: where on the glass, in widths of the face from its centre, and how bright, 0 to 1.
        wall: RGB grey levels behind the gauge.
        shadow: how far the needle's shadow lies from it, across and down, in widths of the face.
        shake: pixels of blur.
        noise: grey levels.
    """

    yaw: float
    pitch: float
    roll: float
    distance: float
    aim: tuple[float, float]
    exposure: float
    tint: tuple[float, float, float]
    slope: tuple[float, float]
    glare: tuple[float, float, float]
    wall: tuple[int, int, int]
    shadow: tuple[float, float]
    shake: float
    noise: float

    @classmethod
    def draw(cls, random: RandomState) -> Scene:
        """One at random."""
        between = random.uniform
        wall = np.clip(between(60, 200) + between(-18, 18, 3), 0, 255).astype(int).tolist()
        return cls(
            yaw=between(-15, 15),
            pitch=between(-15, 15),
            roll=between(-3, 3),
            distance=between(1.55, 1.85),
            aim=(between(-0.04, 0.04), between(-0.04, 0.04)),
            exposure=between(-0.6, 0.5),
            tint=(between(0.9, 1.1), 1.0, between(0.85, 1.12)),
            slope=(between(-0.5, 0.5), between(-0.5, 0.5)),
            glare=(between(-0.3, 0.3), between(-0.3, 0.3), between(0, 0.5)),
            wall=(wall[0], wall[1], wall[2]),
            shadow=(between(-0.02, 0.02), between(0, 0.02)),
            shake=between(0, 0.8),
            noise=between(1, 6),
        )


def photograph(value: float, scene: Scene, random: RandomState) -> Image.Image:
    """A picture of the gauge, RGB [SIZE, SIZE], at a value in bar."""
    gauge = _gauge(value, scene)
    large = SIZE * _SMOOTH
    seen = gauge.transform(
        (large, large), Image.Transform.PERSPECTIVE, _to_face(scene, large), Image.Resampling.BICUBIC
    )
    wall = Image.new("RGB", (large, large), scene.wall)
    wall.paste(seen, mask=seen.getchannel("A"))
    picture = wall.resize((SIZE, SIZE), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(scene.shake))
    return _developed(np.asarray(picture, np.float32), scene, random)


def _gauge(value: float, scene: Scene) -> Image.Image:
    """The gauge seen from before it, RGBA [_FACE, _FACE]."""
    picture = Image.new("RGBA", (_FACE, _FACE))
    draw = ImageDraw.Draw(picture)
    for radius, colour in ((_RIM, "#30343a"), (_RIM - 0.012, "#8b9097"), (_RIM - 0.03, "#4a4e55"), (0.385, "#f4f3ee")):
        draw.ellipse(_around(0, 0, radius), colour)
    font = ImageFont.load_default(34)
    for tick in range(51):
        is_long = tick % 5 == 0
        direction = _direction(tick / 50 * MOST)
        ends = [tuple(_at(direction * radius)) for radius in (0.365, 0.315 if is_long else 0.34)]
        draw.line(ends, "#16181b", 5 if is_long else 2)
        if tick % 10 == 0:
            draw.text(_at(direction * 0.26), str(round(tick / 50 * MOST)), "#16181b", font, "mm")
    draw.text(_at(np.array((0, 0.14))), "bar", "#16181b", font, "mm")
    shade = Image.new("L", (_FACE, _FACE))
    _draw_needle(ImageDraw.Draw(shade), value, np.array(scene.shadow), "#505050")
    picture.paste("#000000", mask=shade.filter(ImageFilter.GaussianBlur(4)))
    _draw_needle(draw, value, np.zeros(2), "#b3201d")
    draw.ellipse(_around(0, 0, 0.035), "#26292d")
    x, y, brightness = scene.glare
    glass = Image.new("L", (_FACE, _FACE))
    ImageDraw.Draw(glass).ellipse(_around(x, y, 0.09), round(255 * brightness))
    glass = glass.filter(ImageFilter.GaussianBlur(24))
    picture.paste("#ffffff", mask=Image.composite(glass, Image.new("L", glass.size), picture.getchannel("A")))
    return picture


def _draw_needle(draw: ImageDraw.ImageDraw, value: float, moved: NDArray[np.float64], colour: str) -> None:
    along = _direction(value)
    across = np.array((-along[1], along[0]))
    corners = (
        along * 0.33,
        across * 0.016,
        -along * 0.09 + across * 0.01,
        -along * 0.09 - across * 0.01,
        -across * 0.016,
    )
    draw.polygon([_at(corner + moved) for corner in corners], colour)


def _direction(value: float) -> NDArray[np.float64]:
    """Where the needle points, across and down."""
    angle = np.radians(_SWEEP * (value / MOST - 0.5))
    return np.array((np.sin(angle), -np.cos(angle)))


def _at(point: NDArray[np.float64]) -> tuple[float, float]:
    """From widths of the face beside its centre to its pixels."""
    x, y = (point + 0.5) * _FACE
    return float(x), float(y)


def _around(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    return [_at(np.array((x - radius, y - radius))), _at(np.array((x + radius, y + radius)))]


def _to_face(scene: Scene, size: int) -> list[float]:
    """From the pixels of a picture to those of the face: the eight numbers of a plane seen by a pinhole camera."""
    yaw, pitch, roll = np.radians((scene.yaw, scene.pitch, scene.roll))
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    turned = about_z @ about_x @ about_y
    seen = np.column_stack((turned[:, 0], turned[:, 1], (*scene.aim, scene.distance)))
    focal = 1.6 * size
    lens = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    of_face = np.array([[1 / _FACE, 0, -0.5], [0, 1 / _FACE, -0.5], [0, 0, 1]])
    back = np.linalg.inv(lens @ seen @ of_face)
    return list((back / back[2, 2]).ravel()[:8])


def _developed(picture: NDArray[np.float32], scene: Scene, random: RandomState) -> Image.Image:
    """Grey levels [SIZE, SIZE, 3] under the light of a scene, with the noise of a camera."""
    down, across = np.mgrid[0:SIZE, 0:SIZE] / SIZE - 0.5
    stops = scene.exposure + scene.slope[0] * across + scene.slope[1] * down
    linear = (picture / 255) ** 2.2 * 2 ** stops[..., None] * scene.tint
    levels = np.clip(linear, 0, 1) ** (1 / 2.2) * 255 + random.normal(0, scene.noise, picture.shape)
    return Image.fromarray(np.asarray(np.rint(np.clip(levels, 0, 255)), np.uint8))


def render(folder: Path, count: int, seed: int) -> None:
    """Pictures in a folder and what they read in a CSV beside it: values evenly over the scale, each a little off.

    Args:
        folder: where they go; the CSV has its name.
        count: of pictures, 2 or more.
        seed: of everything that is drawn at random.
    """
    random = RandomState(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, place in enumerate(random.permutation(count), 1):
        value = round((place + random.uniform(0, 1)) / count * MOST, 2)
        path = folder / f"gauge{number:03}.jpg"
        photograph(value, Scene.draw(random), random).save(path, quality=88)
        rows.append((f"{folder.name}/{path.name}", f"{value:.2f}"))
    with folder.with_suffix(".csv").open("w", encoding="utf-8", newline="") as table:
        csv.writer(table, lineterminator="\n").writerows([("image", "bar"), *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description="Render pictures of a gauge, and a CSV that says what each reads.")
    parser.add_argument("folder", nargs="?", type=Path, help="where to; without it, the pictures of this folder")
    parser.add_argument("--photos", type=int, default=200, help="how many (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: 1)")
    given = parser.parse_args()
    if given.folder:
        render(given.folder, given.photos, given.seed)
    else:
        render(HERE / "support", 10, 10)
        render(HERE / "query", 20, 20)


if __name__ == "__main__":
    main()
