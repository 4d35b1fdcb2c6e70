"""The eight parts that are photographed: their shapes, and what they are made of.

A part is about two units long. Shapes follow catalogue proportions (DIN 934 nut, DIN 315 wing nut, DIN 912 cap screw, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edge_adapt.samples.photo_studio.solids import (
    TURN,
    Field,
    box,
    helix,
    hexagon,
    polar,
    ridge,
    slab,
    smooth_max,
    smooth_min,
    threaded_rod,
)

Distance = Callable[[Field, Field, Field], Field]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """How a part reflects light.

    Attributes:
        diffuse: albedo below the surface; black for bare metal.
        mirror: reflectance at normal incidence.
        roughness: 0 (mirror) to 1.
        wear: how much the roughness and the tint vary over the surface, 0 to 1.
        dents: how much the surface normal wanders.
        scratches: fine lines along one axis of the part, 0 to 1.
    """

    diffuse: Colour
    mirror: Colour
    roughness: float
    wear: float = 0.3
    dents: float = 0.02
    scratches: float = 0.0


@dataclass(frozen=True)
class Part:
    """A solid with its material; all of it lies within `half` of the origin.

    `shape` takes a share from 0 to 1 of how far the part is opened, which is for hinges, and gives the distance function.
    """

    shape: Callable[[float], Distance]
    half: tuple[float, float, float]
    material: Material


def hex_nut(_: float) -> Distance:
    def distance(x: Field, y: Field, z: Field) -> Field:
        rho, turns = polar(x, y)
        height = np.abs(z)
        body = smooth_max(hexagon(x, y, 0.88), height - np.float32(0.42), 0.03)
        body = smooth_max(body, rho * np.float32(0.5) + height * np.float32(0.866) - np.float32(0.812), 0.02)
        bore = (rho - np.float32(0.5) - ridge(turns, z, 0.14, 1.0) * np.float32(0.06)) * np.float32(0.75)
        countersink = (rho - np.float32(0.62) + np.float32(0.42) - height) * np.float32(0.707)
        return smooth_max(body, -np.minimum(bore, countersink), 0.012)

    return distance


def wing_nut(_: float) -> Distance:
    def distance(x: Field, y: Field, z: Field) -> Field:
        rho, turns = polar(x, y)
        boss = smooth_max(
            (rho - np.float32(0.46) + z * np.float32(0.16)) * np.float32(0.98), slab(z, -0.45, 0.38), 0.06
        )
        side = np.abs(x)
        along = np.clip(
            ((side - np.float32(0.34)) * np.float32(0.68) + (z + np.float32(0.12)) * np.float32(0.70))
            / np.float32(0.9545),
            0,
            1,
        )
        ear = np.hypot(side - 0.34 - along * np.float32(0.68), z + np.float32(0.12) - along * np.float32(0.70))
        ear = ear - np.float32(0.22) - along * np.float32(0.11)
        wing = smooth_max(ear, np.abs(y) - np.float32(0.13) + along * np.float32(0.03), 0.08)
        body = smooth_min(boss, wing, 0.16)
        bore = (rho - np.float32(0.235) - ridge(turns, z, 0.1, 1.0) * np.float32(0.04)) * np.float32(0.75)
        return smooth_max(body, -bore, 0.02)

    return distance


def wood_screw(_: float) -> Distance:
    def distance(x: Field, y: Field, z: Field) -> Field:
        rho, turns = polar(x, y)
        taper = np.clip((z + np.float32(1.5)) * 2, 0, 1) ** np.float32(0.8)
        core = taper * np.float32(0.135)
        crest = taper * np.float32(0.225)
        rod = smooth_max(threaded_rod(rho, crest, core, ridge(turns, z, 0.2, 1.6), 0.5), slab(z, -1.5, 0.55), 0.02)
        shank = smooth_max(rho - np.float32(0.175), slab(z, 0.45, 1.2), 0.02)
        head = smooth_max(
            (rho - np.float32(0.175) - np.maximum(z - 0.98, 0) * np.float32(0.95)) * np.float32(0.72),
            slab(z, 0.9, 1.3),
            0.02,
        )
        head = smooth_max(head, rho - np.float32(0.43), 0.02)
        body = np.minimum(np.minimum(rod, shank), head)
        narrowing = (np.float32(1.3) - z) * np.float32(0.55)
        u, v = np.abs(x), np.abs(y)
        long, short = np.maximum(u, v), np.minimum(u, v)
        cross = np.maximum(
            long - np.float32(0.25) + narrowing, short - np.float32(0.058) + narrowing * np.float32(0.12)
        ) * np.float32(0.85)
        return smooth_max(body, -np.maximum(cross, np.float32(1.0) - z), 0.015)

    return distance


def cap_screw(_: float) -> Distance:
    def distance(x: Field, y: Field, z: Field) -> Field:
        rho, turns = polar(x, y)
        knurl = np.cos(turns * TURN * 44) * np.float32(0.009) * (np.abs(z - np.float32(0.95)) < 0.26)
        head = smooth_max(rho - np.float32(0.46) - knurl, slab(z, 0.62, 1.32), 0.05)
        socket = np.maximum(hexagon(x, y, 0.225), np.float32(0.9) - z)
        head = smooth_max(head, -socket, 0.015)
        end = np.clip((z + np.float32(1.32)) * 1.2 + np.float32(0.72), 0, 1)
        rod = threaded_rod(rho, end * np.float32(0.28), end * np.float32(0.225), ridge(turns, z, 0.13, 1.15), 0.7)
        return smooth_min(head, smooth_max(rod, slab(z, -1.32, 0.7), 0.02), 0.03)

    return distance


def spring(_: float) -> Distance:
    def distance(x: Field, y: Field, z: Field) -> Field:
        rho, turns = polar(x, y)
        return np.asarray(helix(rho, turns, z, radius=0.47, wire=0.088, pitch=0.29, coils=7.5) * np.float32(0.9))

    return distance


def gear(_: float) -> Distance:
    teeth = 18

    def distance(x: Field, y: Field, z: Field) -> Field:
        rho, turns = polar(x, y)
        sector = turns * np.float32(teeth)
        angle = (sector - np.round(sector)) * np.float32(2 * np.pi / teeth)
        out, across = rho * np.cos(angle), np.abs(rho * np.sin(angle))
        tooth = np.maximum(
            across * np.float32(0.94) + (out - np.float32(0.9)) * np.float32(0.34) - np.float32(0.078),
            out - np.float32(1.03),
        )
        rim = smooth_min(rho - np.float32(0.83), tooth, 0.03)
        wheel = smooth_max(rim, np.abs(z) - np.float32(0.2), 0.02)
        groove = smooth_max(np.abs(rho - np.float32(0.53)) - np.float32(0.17), np.float32(0.1) - np.abs(z), 0.03)
        wheel = smooth_max(wheel, -groove, 0.02)
        fifth = turns * 5 - np.round(turns * 5)
        hole_angle = fifth * np.float32(2 * np.pi / 5)
        holes = np.hypot(rho * np.cos(hole_angle) - np.float32(0.53), rho * np.sin(hole_angle)) - np.float32(0.115)
        wheel = np.maximum(wheel, -holes)
        hub = smooth_max(rho - np.float32(0.34), slab(z, -0.2, 0.42), 0.03)
        bore = np.minimum(
            rho - np.float32(0.17),
            np.maximum(np.abs(x) - np.float32(0.05), np.abs(y - np.float32(0.1)) - np.float32(0.13)),
        )
        return np.asarray(smooth_max(smooth_min(wheel, hub, 0.04), -bore, 0.012) * np.float32(0.95))

    return distance


# Along a key's blade: the place, and how deep it is cut there.
CUTS = (
    *((-0.1, 0.0), (0.06, 0.0), (0.16, 0.13), (0.26, 0.06), (0.36, 0.06), (0.45, 0.2), (0.55, 0.1), (0.63, 0.03)),
    *((0.73, 0.15), (0.82, 0.15), (0.92, 0.05), (1.02, 0.17), (1.1, 0.1), (1.24, 0.24)),
)


def key(_: float) -> Distance:
    places, depths = (np.array(values, np.float32) for values in zip(*CUTS, strict=True))

    def distance(x: Field, y: Field, z: Field) -> Field:
        bow = np.hypot((x + np.float32(0.78)) * np.float32(1.12), y * np.float32(0.94)) - np.float32(0.5)
        bow = np.maximum(bow, -(np.hypot(x + np.float32(1.06), y) - np.float32(0.12)))
        edge = np.float32(0.19) - np.interp(x, places, depths).astype(np.float32)
        blade = np.maximum((y - edge) * np.float32(0.7), -np.float32(0.19) - y)
        tip = (x + np.abs(y + np.float32(0.07)) - np.float32(1.32)) * np.float32(0.707)
        blade = np.maximum(np.maximum(blade, tip), -np.float32(0.6) - x)
        shoulder = np.maximum(np.abs(x + np.float32(0.28)) - np.float32(0.13), np.abs(y) - np.float32(0.27))
        outline = smooth_min(np.minimum(blade, shoulder), bow, 0.05)
        groove = np.maximum(np.abs(y + np.float32(0.06)) - np.float32(0.045), np.float32(-0.12) - x)
        thick = np.abs(z) - np.float32(0.065) + np.float32(0.03) * (groove < 0)
        panel = np.maximum(np.hypot(x + np.float32(0.7), y) - np.float32(0.3), np.float32(0.052) - np.abs(z))
        return np.asarray(smooth_max(smooth_max(outline, thick, 0.03), -panel, 0.01) * np.float32(0.9))

    return distance


def hinge(opened: float) -> Distance:
    angle = np.radians(75 + 105 * opened)  # between the leaves
    cosine, sine = np.float32(-np.cos(angle)), np.float32(np.sin(angle))

    def leaf(x: Field, y: Field, z: Field) -> Field:
        """One half, its plate towards +x; its knuckles are those of `knuckles`."""
        plate = box(x - np.float32(0.47), y, z + np.float32(0.095), (0.45, 0.86, 0.045), 0.03)
        for row, column in ((0.62, 0.6), (-0.62, 0.6), (0.0, 0.38)):
            rho = np.hypot(x - np.float32(column), y - np.float32(row))
            sunk = (rho - np.float32(0.2) - z) * np.float32(0.707)
            plate = np.maximum(plate, -np.minimum(rho - np.float32(0.085), sunk))
        return plate

    def distance(x: Field, y: Field, z: Field) -> Field:
        rho = np.hypot(x, z)
        fifth = y * np.float32(5 / 1.72)
        gaps = np.abs(fifth - np.round(fifth - np.float32(0.5)) - np.float32(0.5)) * np.float32(1.72 / 5) - np.float32(
            0.008
        )
        barrel = smooth_max(rho - np.float32(0.14), np.abs(y) - np.float32(0.86), 0.03)
        barrel = np.maximum(barrel, -np.maximum(gaps, np.float32(0.11) - rho))
        pin = smooth_max(rho - np.float32(0.09), np.abs(y) - np.float32(0.9), 0.04)
        other_x, other_z = -(x * cosine) + z * sine, x * sine + z * cosine
        leaves = np.minimum(leaf(x, y, z), leaf(other_x, -y, other_z))
        return np.asarray(np.minimum(np.minimum(barrel, pin), leaves))

    return distance


ZINC = Material((0.0, 0.0, 0.0), (0.66, 0.67, 0.68), 0.26, wear=0.35, dents=0.03)
RED_PAINT = Material(
    (0.55, 0.035, 0.02), (0.045, 0.045, 0.045), 0.3, wear=0.25, dents=0.015
)  # ISO 10243: for heavy loads
NICKEL = Material((0.0, 0.0, 0.0), (0.66, 0.61, 0.53), 0.24, wear=0.45, dents=0.025, scratches=0.25)
BRASS = Material((0.01, 0.006, 0.002), (0.86, 0.67, 0.34), 0.24, wear=0.45, dents=0.025, scratches=0.25)
ORANGE_NYLON = Material((0.72, 0.22, 0.02), (0.045, 0.045, 0.045), 0.34, wear=0.2, dents=0.01)
BLACK_OXIDE = Material((0.018, 0.018, 0.02), (0.075, 0.075, 0.08), 0.32, wear=0.4, dents=0.02)
NYLON = Material((0.74, 0.71, 0.62), (0.045, 0.045, 0.045), 0.34, wear=0.2, dents=0.01)

PARTS: Mapping[str, Part] = {
    "cap_screw": Part(cap_screw, (0.5, 0.5, 1.36), BLACK_OXIDE),
    "gear": Part(gear, (1.06, 1.06, 0.46), NYLON),
    "hex_nut": Part(hex_nut, (1.04, 0.92, 0.46), ZINC),
    "hinge": Part(hinge, (0.98, 0.94, 0.98), NICKEL),
    "key": Part(key, (1.36, 0.56, 0.1), BRASS),
    "spring": Part(spring, (0.6, 0.6, 1.22), RED_PAINT),
    "wing_nut": Part(wing_nut, (1.4, 0.52, 0.98), ORANGE_NYLON),
    "wood_screw": Part(wood_screw, (0.46, 0.46, 1.54), ZINC),
}
