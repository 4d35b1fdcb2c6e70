"""Draw the sample characters: twelve invented signs, each drawn by fifteen imagined people.

    python samples/character_studio/draw_characters.py        # rewrites samples/characters/

A sign is a few strokes through control points (signs.py). A drawer has habits (size, slant, pen width, how round corners
come out, how steady the hand is) that hold for every sign; each drawing then deforms the sign as a whole,
shifts, turns and scales its strokes, moves their control points, over- or undershoots their ends and lets the
hand tremble. The five support drawers and the ten query drawers are different people.

Needs numpy and Pillow. The random stream is `numpy.random.RandomState`, which NumPy promises never to change,
and pixels are set here rather than by a drawing library, so that the images come out the same everywhere.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.samples.character_studio.signs import SIGNS, Stroke

Points = NDArray[np.float64]  # [points, 2]: x to the right, y downwards

SIDE = 105  # pixels, as in Omniglot
MARGIN = 4  # pixels that the pen keeps away from the border
SUPPORT_DRAWERS = range(1, 6)
QUERY_DRAWERS = range(6, 16)
STEPS = 40  # points of a path from one control point to the next
CHARACTERS = Path(__file__).resolve().parents[1] / "characters"


@dataclass(frozen=True)
class Hand:
    """What stays the same in everything that one person draws."""

    size: float  # longer side of a sign, as a share of the image's side
    aspect: float  # width over height, relative to the sign's own
    slant: float  # shear to the right
    rotation: float  # radians
    offset: tuple[float, float]  # -1 to 1 of the room that is left around the sign
    pen: float  # radius in pixels
    carelessness: float  # scales every deformation
    angularity: float  # 0: curves as they should be, 1: straight from one control point to the next
    rounding: float  # how much is cut off a corner, as a share of its sides
    overshoot: float  # mean overshoot of a stroke's end, in percent of the sign's box
    tremor: float  # amplitude in pixels
    tremor_wavelength: float  # pixels


def random_state(*words: str) -> RandomState:
    """A random stream of its own for each name, so that adding a sign leaves the others as they are."""
    return RandomState([crc32(word.encode()) for word in words])


def hand_of(drawer: int) -> Hand:
    random = random_state("hand", f"drawer{drawer:02d}")
    return Hand(
        size=random.uniform(0.70, 0.92),
        aspect=float(np.exp(random.normal(0, 0.11))),
        slant=random.normal(0.05, 0.12),
        rotation=random.normal(0, np.radians(4)),
        offset=(random.uniform(-0.6, 0.6), random.uniform(-0.6, 0.6)),
        pen=random.uniform(1.15, 1.65),
        carelessness=random.uniform(0.5, 1.2),
        angularity=random.choice([0.0, 0.0, 0.15, 0.3, 0.6]),
        rounding=random.choice([0.0, 0.08, 0.2, 0.3]),
        overshoot=random.normal(1.0, 1.5),
        tremor=random.uniform(0.15, 0.55),
        tremor_wavelength=random.uniform(16, 36),
    )


def draw(sign: str, drawer: int) -> Image.Image:
    """The sign as that drawer draws it: a 1-bit image of SIDE x SIDE pixels, black on white."""
    random = random_state(sign, f"drawer{drawer:02d}")
    hand = hand_of(drawer)
    paths = [trace(stroke, hand, random) for stroke in SIGNS[sign]]
    paths = on_paper(bend(paths, hand, random), hand, random)
    return ink([tremble(path, hand, random) for path in paths], hand.pen)


def trace(stroke: Stroke, hand: Hand, random: RandomState) -> Points:
    """The path of the pen for one stroke, in percent of the sign's box: points [P, 2]."""
    points = np.array(stroke.points)
    centre = points.mean(axis=0)
    scale = np.exp(random.normal(0, 0.07 * hand.carelessness, 2))
    points = (points - centre) * scale @ turn(random.normal(0, np.radians(4) * hand.carelessness)) + centre
    points += random.normal(0, 2.2 * hand.carelessness, 2)
    points += random.normal(0, 2.0 * hand.carelessness, points.shape)
    if stroke.closed:
        return closed_path(points, hand, random)
    if not stroke.smooth:
        return straight(cut_corners(extend(points, hand, random), hand.rounding))
    return blend(extend(points, hand, random), hand.angularity)


def turn(angle: float) -> Points:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def extend(points: Points, hand: Hand, random: RandomState) -> Points:
    """Lengthens or shortens both ends of an open stroke, along its direction there."""
    points = points.copy()
    for end, neighbour in ((0, 1), (-1, -2)):
        direction = points[end] - points[neighbour]
        length = float(np.hypot(*direction))
        change = max(random.normal(hand.overshoot, 2.0 * hand.carelessness), -0.25 * length)
        points[end] += direction / length * change
    return points


def closed_path(points: Points, hand: Hand, random: RandomState) -> Points:
    """A loop that starts anywhere and ends a little before or after its start."""
    start = random.randint(len(points))
    points = np.roll(points, -start, axis=0)
    around = np.concatenate([points[-1:], points, points[:3]])
    path = blend(around, hand.angularity)
    step = len(path) // (len(around) - 1)
    gap = int(step * random.normal(0.1, 0.2) * hand.carelessness)
    path = path[step : step * (len(points) + 1) + max(gap, -step // 2)]
    # The end drifts away from the start, so that an overlap does not hide under the beginning.
    return path + np.linspace(0, 1, len(path))[:, None] ** 2 * random.normal(0, 2.0 * hand.carelessness, 2)


def blend(points: Points, angularity: float) -> Points:
    """Between the smooth curve through the points (0) and the straight lines between them (1)."""
    return (1 - angularity) * catmull_rom(points) + angularity * straight(points)


def straight(points: Points) -> Points:
    shares = np.linspace(0, 1, STEPS, endpoint=False)[None, :, None]
    path = points[:-1, None] * (1 - shares) + points[1:, None] * shares
    return np.concatenate([path.reshape(-1, 2), points[-1:]])


def catmull_rom(points: Points) -> Points:
    """The uniform Catmull-Rom spline; its ends are extended by reflection."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    p0, p1, p2, p3 = (padded[i : len(padded) - 3 + i, None] for i in range(4))
    t = np.linspace(0, 1, STEPS, endpoint=False)[None, :, None]
    linear, square = (p2 - p0) / 2, p0 - 2.5 * p1 + 2 * p2 - p3 / 2
    path = p1 + t * (linear + t * (square + t * (1.5 * (p1 - p2) + (p3 - p0) / 2)))
    return np.concatenate([path.reshape(-1, 2), points[-1:]])


def cut_corners(points: Points, share: float) -> Points:
    """Chaikin's corner cutting, twice, with the ends held."""
    for _ in range(2):
        before = points[:-1] * (1 - share) + points[1:] * share
        after = points[:-1] * share + points[1:] * (1 - share)
        cut = np.stack([before, after], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], cut[1:-1], points[-1:]])
    return points


def bend(paths: Sequence[Points], hand: Hand, random: RandomState) -> list[Points]:
    """Deforms the sign as a whole by a random quadratic map: larger on one side, leaning, bowed."""
    coefficients = random.normal(0, 3.5 * hand.carelessness, (3, 2))
    bent = []
    for path in paths:
        x, y = (path / 50 - 1).T
        bent.append(path + np.stack([x * x, x * y, y * y], axis=1) @ coefficients)
    return bent


def on_paper(paths: Sequence[Points], hand: Hand, random: RandomState) -> list[Points]:
    """From the sign's box to pixels: aspect, slant, rotation, size and place, within the margins."""
    aspect = np.sqrt(hand.aspect * np.exp(random.normal(0, 0.05)))
    shear = np.array([[1, 0], [-hand.slant - random.normal(0, 0.03), 1]])
    matrix = np.diag([aspect, 1 / aspect]) @ shear @ turn(hand.rotation + random.normal(0, np.radians(2)))
    paths = [path @ matrix for path in paths]
    every = np.concatenate(paths)
    low, high = every.min(axis=0), every.max(axis=0)
    size = min(hand.size * np.exp(random.normal(0, 0.05)) * SIDE, SIDE - 2 * MARGIN)
    scale = size / (high - low).max()
    room = SIDE - 2 * MARGIN - (high - low) * scale
    place = np.clip(np.array(hand.offset) + random.normal(0, 0.2, 2), -1, 1)
    return [(path - low) * scale + MARGIN + room * (1 + place) / 2 for path in paths]


def tremble(path: Points, hand: Hand, random: RandomState) -> Points:
    """Evenly spaced points along the path, moved by a smooth tremor: points [P, 2] in pixels."""
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    at = np.arange(0, lengths[-1], 0.25)
    even = np.stack([np.interp(at, lengths, path[:, i]) for i in range(2)], axis=1)
    for share in (1.0, 0.6, 0.35):
        phases = random.uniform(0, 2 * np.pi, 2)
        waves = at[:, None] * (2 * np.pi / (hand.tremor_wavelength * share * random.uniform(0.8, 1.25)))
        even += hand.tremor * share * np.sin(waves + phases)
    return even


def ink(paths: Sequence[Points], radius: float) -> Image.Image:
    """Blackens every pixel whose centre is within the pen's radius of a path."""
    paper = np.full((SIDE, SIDE), 255, np.uint8)
    reach = np.arange(-2, 3)
    offsets = np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    points = np.concatenate(paths)[:, None]
    pixels = np.floor(points).astype(np.int64) + offsets
    near = np.hypot(*np.moveaxis(pixels + 0.5 - points, -1, 0)) <= radius
    x, y = np.clip(pixels[near], 0, SIDE - 1).T
    paper[y, x] = 0
    return Image.fromarray(paper).convert("1", dither=Image.Dither.NONE)


def main() -> None:
    images = {
        Path(part) / sign / f"drawer{drawer:02d}.png": draw(sign, drawer)
        for part, drawers in (("support", SUPPORT_DRAWERS), ("query", QUERY_DRAWERS))
        for sign in SIGNS
        for drawer in drawers
    }
    if CHARACTERS.exists():
        shutil.rmtree(CHARACTERS)
    for path, image in images.items():
        (CHARACTERS / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(CHARACTERS / path, optimize=True)
    print(f"{len(images)} images of {len(SIGNS)} characters in {CHARACTERS}")


if __name__ == "__main__":
    main()
