"""The light in a room: a picture of everything around the part, with windows and lamps, and what it does to a surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Field = NDArray[np.float32]
_Array: TypeAlias = NDArray[np.floating[Any]]

ROWS, COLUMNS = 96, 192
_BLURS = (0.0, 1.2, 3.0, 6.0, 11.0, 20.0)
"""Deviations in rows of the room's picture at roughness 0, 0.2, ... 1."""


@dataclass(frozen=True)
class Lamp:
    """A bright thing in the room: a window, a lamp, the sky.

    Attributes:
        direction: towards it, of length 1, z upwards.
        radius: how large it is, as an angle in radians; shadows are as soft as that.
        colour: linear RGB of the light that arrives on a surface that faces it.
        square: a window rather than a round lamp.
    """

    direction: tuple[float, float, float]
    radius: float
    colour: tuple[float, float, float]
    square: bool


@dataclass(frozen=True)
class Room:
    """What surrounds a part: lamps, and a picture [ROWS, COLUMNS, 3] of walls, ceiling, floor and things without them."""

    lamps: Sequence[Lamp]
    walls: Field

    @cached_property
    def _harmonics(self) -> Field:
        """Irradiance of the walls as nine coefficients [9, 3] (Ramamoorthi and Hanrahan, 2001), divided by pi."""
        x, y, z, weight = _directions()
        basis = _basis(x, y, z)
        coefficients = np.einsum("krc,rcd,rc->kd", basis, self.walls, weight)
        falloff = np.array([1, 2 / 3, 2 / 3, 2 / 3, 1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 4])
        return np.asarray(coefficients * falloff[:, None], np.float32)

    def ambient(self, normals: Field) -> Field:
        """Light that the walls, without the lamps, send to surfaces with these normals [N, 3]: [N, 3]."""
        x, y, z = normals.T
        return np.asarray(np.maximum(_basis(x, y, z).T @ self._harmonics, 0))

    @cached_property
    def _mirrored(self) -> Field:
        """Walls and lamps as a rough mirror shows them: [roughness, ROWS, COLUMNS, 3]."""
        x, y, z, weight = _directions()
        picture = self.walls.astype(np.float64)
        for lamp in self.lamps:
            shape = _outline(lamp, x, y, z)
            # A surface that faces the lamp gets `colour` in all, however large the lamp is.
            picture = picture + shape[..., None] * np.array(lamp.colour) * np.pi / np.maximum(
                (shape * weight).sum(), 1e-4
            )
        return np.stack([_blurred(picture, blur) for blur in _BLURS]).astype(np.float32)

    def mirrored(self, directions: Field, roughness: Field) -> Field:
        """What a surface of this roughness [N] sees in these directions [N, 3]: [N, 3]."""
        x, y, z = directions.T
        row = np.clip((np.float32(1) - z) * np.float32(ROWS / 2) - np.float32(0.5), 0, ROWS - 1.001)
        column = (np.arctan2(y, x) / np.float32(2 * np.pi) % 1) * np.float32(COLUMNS) - np.float32(0.5)
        level = np.clip(roughness * np.float32(len(_BLURS) - 1), 0, len(_BLURS) - 1.001)
        r, c, b = (np.floor(v).astype(np.int32) for v in (row, column, level))
        fr, fc, fb = ((v - i)[:, None] for v, i in ((row, r), (column, c), (level, b)))
        left, right = c % COLUMNS, (c + 1) % COLUMNS
        seen = np.float32(0)
        for extra, share in ((0, 1 - fb), (1, fb)):
            picture = self._mirrored
            top = picture[b + extra, r, left] * (1 - fc) + picture[b + extra, r, right] * fc
            bottom = picture[b + extra, r + 1, left] * (1 - fc) + picture[b + extra, r + 1, right] * fc
            seen = seen + share * (top * (1 - fr) + bottom * fr)
        return np.asarray(seen, np.float32)


def _directions() -> tuple[NDArray[np.float64], ...]:
    """Of every pixel of a room's picture: its direction, and its share of the sphere. Rows are even in z, so shares are alike."""
    z = 1 - (np.arange(ROWS) + 0.5) * 2 / ROWS
    turn = (np.arange(COLUMNS) + 0.5) / COLUMNS * 2 * np.pi
    z, turn = np.meshgrid(z, turn, indexing="ij")
    across = np.sqrt(1 - z * z)
    share = np.full(z.shape, 1 / (ROWS * COLUMNS))
    return across * np.cos(turn), across * np.sin(turn), z, share * 4 * np.pi


def _basis(x: _Array, y: _Array, z: _Array) -> Field:
    """The first nine real spherical harmonics, scaled so that the mean of a constant room is that constant."""
    one = np.full_like(x, 1 / np.sqrt(4 * np.pi))
    first, second = np.sqrt(3 / (4 * np.pi)), np.sqrt(15 / (4 * np.pi))
    parts = [one, first * y, first * z, first * x, second * x * y, second * y * z]
    parts += [second / np.sqrt(12) * (3 * z * z - 1), second * x * z, second / 2 * (x * x - y * y)]
    return np.stack(parts).astype(np.float32)


def _outline(lamp: Lamp, x: _Array, y: _Array, z: _Array) -> _Array:
    """1 where the lamp is, 0 where it is not, smooth between."""
    ahead = np.array(lamp.direction)
    side = np.cross(ahead, (0.0, 0.0, 1.0))
    side = side / max(float(np.linalg.norm(side)), 1e-6)
    up = np.cross(side, ahead)
    depth = x * ahead[0] + y * ahead[1] + z * ahead[2]
    u = (x * side[0] + y * side[1] + z * side[2]) / np.maximum(depth, 1e-3)
    v = (x * up[0] + y * up[1] + z * up[2]) / np.maximum(depth, 1e-3)
    if lamp.square:
        away = np.maximum(np.abs(u) * 1.3, np.abs(v) * 0.85)
        bars = np.minimum(np.abs(u), np.abs(v - 0.2 * lamp.radius)) < 0.08 * lamp.radius
    else:
        away, bars = np.hypot(u, v), np.zeros(u.shape, bool)
    soft = max(0.02, 0.15 * lamp.radius)
    return np.asarray(np.clip((lamp.radius - away) / soft + 0.5, 0, 1) * (depth > 0) * np.where(bars, 0.25, 1.0))


def _blurred(picture: NDArray[np.float64], rows: float) -> NDArray[np.float64]:
    """The picture of a room, blurred along both of its axes; it joins at the sides and is mirrored above and below."""
    if rows == 0:
        return picture
    whole = np.concatenate([picture[::-1], picture, picture[::-1]])
    fy = np.fft.fftfreq(len(whole))[:, None, None]
    fx = np.fft.rfftfreq(COLUMNS)[None, :, None]
    gain = np.exp(-2 * np.pi**2 * rows**2 * (fy**2 + (1.3 * fx) ** 2))
    whole = np.fft.irfft2(np.fft.rfft2(whole, axes=(0, 1)) * gain, whole.shape[:2], axes=(0, 1))
    return np.maximum(whole[ROWS : 2 * ROWS], 0)


def black_body(kelvin: float) -> NDArray[np.float64]:
    """Linear RGB of a lamp of that colour temperature, green 1, from 1,500 to 12,000 K (a fit to Planck's curve in sRGB)."""
    t = kelvin / 1000
    red = 1.0 if t < 6.6 else 0.93 * (t - 5.6) ** -0.16
    green = np.clip(0.33 * np.log(t) + 0.36, 0, 1) if t < 6.6 else 0.98 * (t - 5.8) ** -0.08
    blue = np.clip(0.52 * np.log(max(t - 0.9, 0.1)) + 0.09, 0.02, 1) if t < 6.6 else 1.0
    linear = np.array([red, float(green), float(blue)]) ** 2.2
    return np.asarray(linear / linear[1])


def room(
    random: RandomState, floor: NDArray[np.float64], kelvin: float, lamps: Sequence[Lamp], brightness: float
) -> Room:
    """Walls, ceiling and things in them, lit with this colour; below is the floor, whose mean colour is given.

    Args:
        random: draws the things.
        floor: linear RGB.
        kelvin: colour temperature of the light that fills the room.
        lamps: the lamps; how bright the floor is depends on them.
        brightness: of the room, where a lamp's colour of 1 is about as bright as white paper below it.
    """
    x, y, z, _ = _directions()
    fill = black_body(kelvin) * brightness
    wall = fill * random.uniform(0.5, 0.9) * np.exp(random.normal(0, 0.06, 3))
    ceiling = fill * random.uniform(0.9, 1.5)
    share = np.clip((z - 0.25) * 2.2, 0, 1)[..., None]
    picture = wall * (1 - share) + ceiling * share
    turn = np.arctan2(y, x)
    picture = picture * (1 + 0.35 * np.cos(turn - random.uniform(0, 2 * np.pi)) * (1 - np.abs(z)))[..., None]
    for _ in range(random.randint(7, 13)):  # furniture, pictures, doors: dark and bright patches along the walls
        middle, width = random.uniform(-np.pi, np.pi), random.uniform(0.1, 0.45)
        low = random.uniform(-0.05, 0.3)
        high = low + random.uniform(0.1, 0.6)
        away = np.abs((turn - middle + np.pi) % (2 * np.pi) - np.pi)
        inside = np.clip((width - away) * 20, 0, 1) * np.clip((z - low) * 20, 0, 1) * np.clip((high - z) * 20, 0, 1)
        colour = fill * np.exp(random.normal(-0.9, 0.9)) * np.exp(random.normal(0, 0.15, 3))
        picture = picture * (1 - inside[..., None]) + colour * inside[..., None]
    lit = fill * 0.8 + sum(np.array(lamp.colour) * max(lamp.direction[2], 0) for lamp in lamps)
    below = np.clip(0.5 - z * 16, 0, 1)[..., None]
    picture = picture * (1 - below) + floor * lit * 0.8 * below
    return Room(lamps, picture.astype(np.float32))
