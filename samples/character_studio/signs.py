"""The twelve invented signs, stroke by stroke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stroke:
    """One movement of the pen through control points given in percent of the sign's box."""

    points: tuple[tuple[float, float], ...]
    smooth: bool  # a curve through the points (Catmull-Rom) rather than straight lines between them
    closed: bool = False  # the pen comes back to where it started, more or less


def curve(*points: tuple[float, float]) -> Stroke:
    return Stroke(points, smooth=True)


def line(*points: tuple[float, float]) -> Stroke:
    return Stroke(points, smooth=False)


def loop(x: float, y: float, width: float, height: float) -> Stroke:
    """A small ellipse around (x, y)."""
    angles = np.arange(6) * (np.pi / 3)
    return Stroke(
        tuple((x + width / 2 * float(np.cos(a)), y + height / 2 * float(np.sin(a))) for a in angles),
        smooth=True,
        closed=True,
    )


def dot(x: float, y: float) -> Stroke:
    """A short press of the pen."""
    return line((x - 1.5, y), (x + 1.5, y + 1))


# Signs come in families that share their main stroke and differ in the rest (anku and belo, chiru and doma,
# esti and fuwa, ilvo and jaret), so that telling them apart takes more than a glance at where the ink is.
SNAIL = curve(
    *((31, 42), (38, 35), (31, 24), (17, 30), (13, 48), (28, 64)),
    *((48, 52), (47, 26), (58, 12), (72, 28), (80, 54), (95, 60)),
)
EGG = Stroke(((18, 64), (34, 86), (60, 84), (68, 62), (50, 42), (26, 44)), smooth=True, closed=True)
ARCH = curve((20, 93), (10, 68), (16, 34), (47, 9), (80, 30), (89, 64), (78, 92))
EIGHT = Stroke(
    (
        *((50, 35), (40, 23), (25, 18), (10, 34), (24, 52), (40, 47)),
        *((50, 35), (60, 23), (76, 18), (91, 35), (76, 53), (60, 47)),
    ),
    smooth=True,
    closed=True,
)

SIGNS: Mapping[str, tuple[Stroke, ...]] = {
    "anku": (SNAIL, line((62, 46), (94, 34)), line((66, 74), (97, 82))),
    "belo": (SNAIL, line((10, 82), (46, 86)), loop(68, 80, 24, 22)),
    "chiru": (EGG, line((30, 43), (24, 5)), line((56, 46), (68, 8), (95, 40))),
    "doma": (
        EGG,
        curve((56, 46), (80, 36), (78, 12), (54, 6), (42, 20)),
        line((70, 70), (94, 90)),
        dot(42, 64),
    ),
    "esti": (ARCH, line((49, 10), (49, 44)), loop(49, 58, 28, 28)),
    "fuwa": (ARCH, curve((47, 9), (42, 28), (58, 42), (56, 58), (40, 66)), line((4, 72), (34, 62))),
    "golim": (
        line((16, 78), (40, 24), (72, 74), (16, 78)),
        curve((40, 24), (52, 8), (74, 5), (90, 18), (84, 36), (68, 34)),
        line((54, 76), (56, 97)),
    ),
    "hesk": (
        curve((64, 6), (60, 38), (58, 70), (64, 88), (78, 93), (92, 78)),
        line((60, 18), (24, 30)),
        line((58, 44), (12, 58)),
        loop(28, 80, 24, 22),
    ),
    "ilvo": (EIGHT, curve((70, 6), (73, 34), (70, 64), (58, 86), (38, 92))),
    "jaret": (
        EIGHT,
        curve((25, 52), (26, 74), (36, 92), (52, 97), (68, 90), (76, 73), (76, 53)),
        dot(50, 72),
    ),
    "kumba": (
        curve((6, 34), (20, 18), (36, 22), (52, 36), (68, 44), (92, 26)),
        curve((10, 66), (24, 52), (40, 56), (56, 68), (72, 74), (94, 58)),
        line((72, 5), (36, 82)),
        loop(28, 90, 18, 16),
    ),
    "leshi": (
        curve((8, 16), (10, 46), (26, 66), (48, 70), (72, 64), (88, 42), (90, 10)),
        line((26, 34), (40, 50), (54, 24), (70, 46)),
        curve((48, 70), (46, 84), (56, 96), (74, 90)),
    ),
}
