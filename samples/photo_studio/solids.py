"""Signed distances of simple solids and of threads, from which `parts` builds hardware.

A distance is negative inside. Every function takes and gives float32 arrays of one shape, a coordinate each. A distance may be
too small where shapes are cut or joined, never much too large, so that a ray that walks by it does not step through a surface
(Hart, "Sphere Tracing", 1996). Smooth maximum and minimum are the polynomial ones of Inigo Quilez.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
TURN = np.float32(2 * np.pi)


def smooth_max(a: Field, b: Field, radius: float) -> Field:
    """The intersection, its edge rounded over about `radius`."""
    rounding = np.maximum(np.float32(radius) - np.abs(a - b), 0)
    return np.asarray(np.maximum(a, b) + rounding * rounding * np.float32(0.25 / radius))


def smooth_min(a: Field, b: Field, radius: float) -> Field:
    """The union, the inner edge filled over about `radius`."""
    rounding = np.maximum(np.float32(radius) - np.abs(a - b), 0)
    return np.asarray(np.minimum(a, b) - rounding * rounding * np.float32(0.25 / radius))


def box(x: Field, y: Field, z: Field, half: tuple[float, float, float], radius: float) -> Field:
    """A box around the origin with rounded edges."""
    qx, qy, qz = (np.abs(c) - np.float32(h - radius) for c, h in zip((x, y, z), half, strict=True))
    outside = np.sqrt(np.maximum(qx, 0) ** 2 + np.maximum(qy, 0) ** 2 + np.maximum(qz, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(qx, np.maximum(qy, qz)), 0) - np.float32(radius))


def slab(z: Field, low: float, high: float) -> Field:
    """Everything between two heights."""
    return np.asarray(np.abs(z - np.float32((low + high) / 2)) - np.float32((high - low) / 2))


def hexagon(x: Field, y: Field, apothem: float) -> Field:
    """A hexagonal bar along z."""
    across, along = np.abs(x), np.abs(y)
    return np.asarray(np.maximum(across * np.float32(0.8660254) + along * np.float32(0.5), along) - np.float32(apothem))


def polar(x: Field, y: Field) -> tuple[Field, Field]:
    """Distance from the z axis, and the angle around it in turns, -0.5 to 0.5."""
    return np.sqrt(x * x + y * y), np.arctan2(y, x) / TURN


def ridge(turns: Field, z: Field, pitch: float, sharpness: float) -> Field:
    """A right-handed thread: 1 on its crest, 0 in its groove; `sharpness` above 1 narrows the crest."""
    phase = z * np.float32(1 / pitch) - turns
    wave = np.abs(phase - np.floor(phase) - np.float32(0.5)) * 2
    return np.asarray(np.clip(1 - (1 - wave) * np.float32(sharpness), 0, 1))


def threaded_rod(rho: Field, crest: Field, core: Field, ridges: Field, slowness: float) -> Field:
    """A rod of radius `core` in the grooves and `crest` on the thread; far away the distance from its hull, which is exact."""
    hull = rho - crest
    near = (rho - core - (crest - core) * ridges) * np.float32(slowness)
    return np.where(hull > 0.08, hull, np.minimum(near, np.maximum(hull, 0) + np.float32(0.08)))


def helix(rho: Field, turns: Field, z: Field, radius: float, wire: float, pitch: float, coils: float) -> Field:
    """A wire wound `coils` times around the z axis, its ends closed against the last coil."""
    most = np.float32(coils / 2)
    at = np.clip(np.round(z * np.float32(1 / pitch) - turns) + turns, -most, most) * np.float32(pitch)
    lean = 2 * np.pi * radius / np.hypot(2 * np.pi * radius, pitch)
    across, along = rho - np.float32(radius), (z - at) * np.float32(lean)
    return np.asarray(np.sqrt(across * across + along * along) - np.float32(wire))
