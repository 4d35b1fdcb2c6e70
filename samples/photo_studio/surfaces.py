"""What the parts lie on: fifteen surfaces as square tiles that repeat without a seam.

A surface is drawn anew for every photo, with its own colour, scale and wear.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.floating[Any]]

TEXELS = 1024
"""Side of a tile."""

EXTENT = 9.0
"""Side of a tile in the units of the parts, each of which is about two units long."""


@dataclass(frozen=True)
class Surface:
    """A tile of a surface.

    Attributes:
        albedo: [TEXELS, TEXELS, 3], 0 to 1; of a metal, its reflectance.
        slope: [TEXELS, TEXELS, 2], the rise of the surface per unit along x and y.
        roughness: 0 (mirror) to 1.
        metal: whether it reflects only from its face.
    """

    albedo: Field
    slope: Field
    roughness: float
    metal: bool = False


def surface(albedo: Field, height: Field, roughness: float, metal: bool = False) -> Surface:
    """A surface from its colours and its relief, in units of the parts."""
    texel = EXTENT / TEXELS
    slope = [(np.roll(height, -1, axis) - np.roll(height, 1, axis)) / (2 * texel) for axis in (1, 0)]
    return Surface(
        np.clip(albedo, 0.01, 0.95).astype(np.float32), np.stack(slope, axis=-1).astype(np.float32), roughness, metal
    )


def noise(random: RandomState, low: float, high: float, steepness: float = 1.0, stretch: float = 1.0) -> Field:
    """Seamless noise of mean 0 and deviation 1 between two frequencies in cycles a tile; amplitude falls as 1 / f ** steepness.

    `stretch` makes it longer along x by that factor.
    """
    fx, fy = np.fft.rfftfreq(TEXELS, 1 / TEXELS)[None, :] * stretch, np.fft.fftfreq(TEXELS, 1 / TEXELS)[:, None]
    frequency = np.maximum(np.hypot(fx, fy), 1e-6)
    gain = (
        frequency**-steepness * np.exp(-((frequency / high) ** 4)) * (1 - np.exp(-((frequency / max(low, 0.5)) ** 4)))
    )
    gain[0, 0] = 0
    waves = random.standard_normal((2, *gain.shape)).astype(np.float32)
    values = np.fft.irfft2((waves[0] + 1j * waves[1]) * gain.astype(np.float32), (TEXELS, TEXELS))
    return np.asarray(values / values.std(), np.float32)


def grid() -> tuple[Field, Field]:
    """The place of every texel, 0 to 1 along x and along y."""
    places = np.arange(TEXELS, dtype=np.float32) / np.float32(TEXELS)
    x, y = np.meshgrid(places, places)
    return x, y


def cells(random: RandomState, count: int) -> tuple[Field, NDArray[np.int64]]:
    """A tile cut into `count` x `count` irregular cells: how far each texel is from its cell's border, and its cell's number."""
    x, y = grid()
    centres = random.uniform(0.08, 0.92, (count, count, 2)).astype(np.float32)
    column, row = np.floor(x * count).astype(np.int64), np.floor(y * count).astype(np.int64)
    nearest, second = np.full(x.shape, 9, np.float32), np.full(x.shape, 9, np.float32)
    owner = np.zeros(x.shape, np.int64)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            centre = centres[(row + i) % count, (column + j) % count]
            away = np.hypot(x * count - column - j - centre[..., 0], y * count - row - i - centre[..., 1])
            closer = away < nearest
            second = np.where(closer, nearest, np.minimum(second, away))
            owner = np.where(closer, (row + i) % count * count + (column + j) % count, owner)
            nearest = np.minimum(nearest, away)
    return second - nearest, owner


def tint(random: RandomState, colour: tuple[float, float, float], spread: float = 0.08) -> Field:
    """A colour near this one."""
    shade = np.exp(random.normal(0, spread)) * np.exp(random.normal(0, spread / 3, 3))
    return np.asarray(np.array(colour) * shade, np.float32)


def mixed(share: Field, a: Field, b: Field) -> Field:
    """From the colour `a` where `share` is 0 to `b` where it is 1."""
    share = np.clip(share, 0, 1)[..., None]
    return np.asarray(a * (1 - share) + b * share, np.float32)


def _wood(random: RandomState, light: Field, dark: Field, boards: int, gap: float, roughness: float) -> Surface:
    _, y = grid()
    board = np.floor(y * boards)
    shift = random.uniform(0, 1, boards)[board.astype(np.int64)]
    shade = random.normal(0, 0.16, boards)[board.astype(np.int64)] * (boards > 1)
    bend = noise(random, 0, 3, 1.5, 3) * 0.035 + noise(random, 2, 14, 1.2, 5) * 0.006
    rings = (y + bend + shift) * random.randint(26, 40)
    phase = rings - np.floor(rings)
    grain = phase**3 * (1 - phase) * 6 * (0.6 + 0.4 * noise(random, 0, 5, 1, 3))
    pores = np.maximum(noise(random, 60, 420, 0.2, 22) - 1.1, 0)
    fibres = noise(random, 20, 400, 0.5, 14)
    share = 0.28 + 0.62 * grain + 0.09 * fibres + 0.28 * pores + shade
    edge = np.abs(y * boards - np.round(y * boards)) / boards * EXTENT
    joint = np.exp(-((edge / gap) ** 2)) if boards > 1 else np.zeros_like(y)
    albedo = mixed(share, light, dark) * (1 - 0.85 * joint)[..., None]
    return surface(albedo, -0.003 * pores - 0.0004 * fibres - 0.03 * joint, roughness)


def oak(random: RandomState) -> Surface:
    return _wood(random, tint(random, (0.56, 0.41, 0.25)), tint(random, (0.29, 0.18, 0.095)), 1, 0.02, 0.5)


def walnut_planks(random: RandomState) -> Surface:
    return _wood(random, tint(random, (0.22, 0.135, 0.085)), tint(random, (0.085, 0.05, 0.03)), 5, 0.022, 0.42)


def felt(random: RandomState) -> Surface:
    colours = ((0.13, 0.14, 0.16), (0.05, 0.16, 0.11), (0.28, 0.05, 0.06), (0.10, 0.13, 0.25))
    colour = tint(random, colours[random.randint(len(colours))])
    fuzz, clumps = noise(random, 40, 260, 0.5), noise(random, 6, 60, 0.8)
    albedo = colour * np.exp(0.09 * fuzz + 0.09 * clumps)[..., None]
    return surface(albedo, 0.0018 * fuzz + 0.008 * clumps, 1.0)


def white_paper(random: RandomState) -> Surface:
    fibre = noise(random, 40, 300, 0.6)
    albedo = tint(random, (0.80, 0.79, 0.76), 0.03) * (1 + 0.008 * fibre)[..., None]
    return surface(albedo, 0.0004 * fibre + 0.03 * noise(random, 0, 3, 1.5), 0.85)


def graph_paper(random: RandomState) -> Surface:
    x, y = grid()
    albedo = np.broadcast_to(tint(random, (0.80, 0.80, 0.75), 0.03), (TEXELS, TEXELS, 3))
    ink = tint(random, (0.30, 0.42, 0.62))
    for lines, width, strength in ((60, 0.009, 0.45), (12, 0.014, 0.7)):
        near = np.minimum(*(np.abs(c * lines - np.round(c * lines)) / lines * EXTENT for c in (x, y)))
        albedo = mixed(strength * np.exp(-((near / width) ** 2)), albedo, ink)
    fibre = noise(random, 40, 300, 0.6)
    return surface(albedo * (1 + 0.01 * fibre)[..., None], 0.0004 * fibre, 0.8)


def cardboard(random: RandomState) -> Surface:
    _, y = grid()
    flutes = np.cos(y * 2 * np.pi * 42)
    fibre, blotch = noise(random, 30, 350, 0.4, 3), noise(random, 1, 20, 1)
    specks = np.maximum(noise(random, 90, 300, 0) - 2.6, 0)
    albedo = (
        tint(random, (0.46, 0.31, 0.18)) * (1 + 0.03 * flutes + 0.05 * fibre + 0.04 * blotch - 0.5 * specks)[..., None]
    )
    return surface(albedo, 0.004 * flutes + 0.001 * fibre, 0.85)


def concrete(random: RandomState) -> Surface:
    cloud, grit = noise(random, 0, 40, 1.3), noise(random, 40, 300, 0.5)
    pits = np.maximum(noise(random, 12, 60, 0.2) - 2.1, 0)
    albedo = tint(random, (0.36, 0.35, 0.33), 0.15) * np.exp(0.16 * cloud + 0.05 * grit - 1.1 * pits)[..., None]
    return surface(albedo, 0.0016 * grit - 0.07 * pits, 0.8)


def terrazzo(random: RandomState) -> Surface:
    border, owner = cells(random, 38)
    stones = np.array(
        [(0.62, 0.58, 0.52), (0.16, 0.15, 0.15), (0.48, 0.27, 0.20), (0.75, 0.73, 0.70), (0.33, 0.36, 0.36)]
    )
    chip = (
        stones[random.randint(0, len(stones), 38 * 38)][owner] * np.exp(0.07 * noise(random, 10, 200, 0.8))[..., None]
    )
    present = random.uniform(0.05, 0.45, 38 * 38)[owner]
    share = np.clip((border - present) * 16, 0, 1)
    base = tint(random, (0.66, 0.63, 0.58)) * (1 + 0.03 * noise(random, 20, 250, 0.5))[..., None]
    return surface(base * (1 - share)[..., None] + chip * share[..., None], 0.0004 * noise(random, 10, 200), 0.28)


def marble(random: RandomState) -> Surface:
    warp = noise(random, 0, 9, 1.6)
    veins = np.exp(-np.abs(noise(random, 0, 6, 1.2, 2) + 0.25 * warp) * 14) * np.clip(
        0.7 + 0.6 * noise(random, 0, 8), 0, 1
    )
    hairlines = np.exp(-np.abs(noise(random, 1, 30, 1.3, 2) - 0.4 * warp) * 30) * np.clip(noise(random, 0, 8), 0, 1)
    albedo = mixed(
        0.6 * veins + 0.45 * hairlines + 0.06 * warp,
        tint(random, (0.74, 0.73, 0.71), 0.04),
        tint(random, (0.28, 0.28, 0.30)),
    )
    return surface(albedo, np.zeros_like(veins), 0.16)


def cork(random: RandomState) -> Surface:
    border, owner = cells(random, 60)
    shade = random.normal(0, 0.16, 60 * 60)[owner]
    fine, dark = noise(random, 30, 250, 0.6), np.maximum(noise(random, 20, 90, 0.3) - 1.5, 0)
    seam = np.exp(-border * 14)
    albedo = tint(random, (0.52, 0.32, 0.16)) * np.exp(shade + 0.08 * fine - 0.25 * seam - 0.7 * dark)[..., None]
    return surface(albedo, 0.0015 * fine - 0.006 * seam - 0.02 * dark, 0.85)


def _weave(random: RandomState, threads: int, twill: int) -> tuple[Field, Field, NDArray[np.bool_]]:
    """Relief of a cloth, its light and dark over the threads, and where the warp is on top; `twill` threads go over at a time."""
    x, y = grid()
    u = x * threads + 0.12 * noise(random, 2, 30, 0.8)
    v = y * threads + 0.12 * noise(random, 2, 30, 0.8)
    over = (np.floor(u) + np.floor(v)) % (twill + 1) < twill if twill > 1 else (np.floor(u) + np.floor(v)) % 2 < 1
    across, along = np.where(over, u, v), np.where(over, v, u)
    round_thread = np.sqrt(np.clip(1 - (2 * (across - np.floor(across)) - 1) ** 2, 0, 1))
    hump = np.sin((along - np.floor(along)) * np.pi) if twill == 1 else np.ones_like(x)
    return round_thread * (0.6 + 0.4 * hump), 1 + 0.08 * noise(random, 20, 250, 0.4, 3), over


def linen(random: RandomState) -> Surface:
    relief, shade, over = _weave(random, 60, 1)
    slubs = np.where(over, noise(random, 4, 120, 0.5, 0.08), noise(random, 4, 120, 0.5, 12))
    albedo = tint(random, (0.56, 0.49, 0.38)) * ((0.45 + 0.55 * relief) * shade * np.exp(0.1 * slubs))[..., None]
    return surface(albedo, 0.022 * relief, 1.0)


def denim(random: RandomState) -> Surface:
    relief, shade, over = _weave(random, 64, 3)
    worn = np.clip(0.22 + 0.12 * noise(random, 1, 12, 1) + 0.2 * (relief - 0.5), 0, 1)
    warp = mixed(worn, tint(random, (0.035, 0.065, 0.16)), tint(random, (0.17, 0.24, 0.38)))
    albedo = np.where(over[..., None], warp, tint(random, (0.20, 0.24, 0.32)))
    return surface(albedo * ((0.6 + 0.4 * relief) * shade)[..., None], 0.014 * relief, 1.0)


def brushed_steel(random: RandomState) -> Surface:
    lines = noise(random, 60, 450, 0.15, 60)
    smears = noise(random, 0, 8, 1.2)
    albedo = tint(random, (0.52, 0.52, 0.52), 0.05) * (1 + 0.05 * lines + 0.03 * smears)[..., None]
    return surface(albedo, 0.0002 * lines, 0.45, metal=True)


def galvanized(random: RandomState) -> Surface:
    _, owner = cells(random, 26)
    facet = random.normal(0, 1, (26 * 26, 2))[owner]
    frost = noise(random, 30, 400, 0.4)
    albedo = tint(random, (0.42, 0.43, 0.45), 0.06) * np.exp(0.16 * facet[..., 0] + 0.05 * frost)[..., None]
    tile = surface(albedo, 0.0001 * frost, 0.5, metal=True)
    return Surface(tile.albedo, tile.slope + (0.03 * facet).astype(np.float32), tile.roughness, tile.metal)


def cutting_mat(random: RandomState) -> Surface:
    x, y = grid()
    leather = noise(random, 40, 200, 0.4)
    base = tint(random, (0.045, 0.17, 0.11)) * (1 + 0.04 * leather + 0.05 * noise(random, 1, 20, 1))[..., None]
    near = np.minimum(*(np.abs(c * 9 - np.round(c * 9)) / 9 * EXTENT for c in (x, y)))
    fine = np.minimum(*(np.abs(c * 45 - np.round(c * 45)) / 45 * EXTENT for c in (x, y)))
    albedo = mixed(0.22 * np.exp(-((fine / 0.011) ** 4)), base, np.array((0.6, 0.62, 0.35), np.float32))
    albedo = mixed(0.75 * np.exp(-((near / 0.017) ** 4)), albedo, np.array((0.62, 0.64, 0.36), np.float32))
    cuts = np.maximum(noise(random, 3, 200, 0.6, 40) - 2.7, 0) * 0.5
    return surface(albedo * (1 - 0.3 * cuts)[..., None], 0.0008 * leather - 0.02 * cuts, 0.55)


SUPPORT: Mapping[str, Callable[[RandomState], Surface]] = {
    "oak": oak,
    "felt": felt,
    "white_paper": white_paper,
    "concrete": concrete,
    "brushed_steel": brushed_steel,
}
QUERY: Mapping[str, Callable[[RandomState], Surface]] = {
    "walnut_planks": walnut_planks,
    "denim": denim,
    "cardboard": cardboard,
    "terrazzo": terrazzo,
    "galvanized": galvanized,
    "cutting_mat": cutting_mat,
    "linen": linen,
    "marble": marble,
    "cork": cork,
    "graph_paper": graph_paper,
}
