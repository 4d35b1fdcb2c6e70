"""Rays against one solid: where they meet it, how much of a lamp it hides, and where it comes to rest on a table.

Sphere tracing (Hart 1996); the penumbra of a lamp from how closely a ray passes by (Quilez, "Soft shadows", 2010).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Field = NDArray[np.float32]
Vectors = NDArray[np.float32]  # [N, 3]

CLOSE = np.float32(0.0012)
STEPS = 110
SHADOW_STEPS = 44
CHUNK = 16_384
"""Rays at a time: their arrays fit in a core's cache."""


@dataclass(frozen=True)
class Body:
    """A solid where it lies: world = rotation @ own + place.

    Attributes:
        distance: the solid's distance function in its own coordinates.
        half: of its bounding box.
        rotation: [3, 3].
        place: [3].
    """

    distance: Callable[[Field, Field, Field], Field]
    half: tuple[float, float, float]
    rotation: Vectors
    place: Field

    def own(self, points: Vectors) -> Vectors:
        """World points in the solid's coordinates."""
        return np.asarray((points - self.place) @ self.rotation)

    def turned(self, directions: Vectors) -> Vectors:
        """World directions in the solid's coordinates."""
        return directions @ self.rotation

    def crossing(self, origins: Vectors, directions: Vectors, margin: float) -> tuple[Field, Field]:
        """Where rays in the solid's coordinates enter and leave its bounding box, widened by `margin`."""
        half = np.array(self.half, np.float32) + np.float32(margin)
        inverse = 1 / np.where(np.abs(directions) < 1e-7, np.float32(1e-7), directions)
        middle, reach = -origins * inverse, np.abs(inverse) * half
        return np.maximum((middle - reach).max(axis=1), 0), (middle + reach).min(axis=1)

    def hit(self, origins: Vectors, directions: Vectors, start: float = 0.0) -> Field:
        """How far along each ray [N] (world coordinates) the solid is met; infinity where it is missed."""
        o, d = self.own(origins), self.turned(directions)
        enter, leave = self.crossing(o, d, 0.02)
        found = np.full(len(o), np.inf, np.float32)
        index = np.flatnonzero(leave > np.maximum(enter, start))
        o, d, t, end = o[index], d[index], np.maximum(enter[index], np.float32(start)), leave[index]
        ox, oy, oz, dx, dy, dz = (np.ascontiguousarray(c) for c in (*o.T, *d.T))
        for _ in range(STEPS):
            if not len(index):
                break
            step = self.distance(ox + t * dx, oy + t * dy, oz + t * dz)
            met = step < CLOSE
            found[index[met]] = np.minimum(
                found[index[met]], t[met]
            )  # a ray that has met the solid may stay for a few steps
            t = t + np.maximum(step, CLOSE / 2) * np.float32(0.95)
            on = ~met & (t < end)
            if np.count_nonzero(on) < 0.8 * len(on):
                ox, oy, oz, dx, dy, dz, t, end, index = (a[on] for a in (ox, oy, oz, dx, dy, dz, t, end, index))
        late = t < end  # still creeping along a surface
        found[index[late]] = np.minimum(found[index[late]], t[late])
        return found

    def visibility(self, points: Vectors, directions: Vectors, softness: float, reach: float, start: float) -> Field:
        """How much of a round lamp each point [N] sees past the solid, 0 to 1.

        Args:
            points, directions: world coordinates; the directions may be one for all.
            softness: the tangent of the lamp's radius as an angle.
            reach: how far away the solid still matters.
            start: where to begin, so that a surface does not shade itself.
        """
        o = self.own(points)
        d = np.broadcast_to(self.turned(np.atleast_2d(directions)), o.shape)
        enter, leave = self.crossing(o, d, min(softness * 2.5, 0.9))
        enter, leave = np.maximum(enter, np.float32(start)), np.minimum(leave, np.float32(reach))
        seen = np.ones(len(o), np.float32)
        index = np.flatnonzero(leave > enter)
        o, d, t, end = o[index], d[index], enter[index], leave[index]
        ox, oy, oz, dx, dy, dz = (np.ascontiguousarray(c) for c in (*o.T, *d.T))
        least = np.full(len(index), 1, np.float32)
        for _ in range(SHADOW_STEPS):
            if not len(index):
                break
            away = self.distance(ox + t * dx, oy + t * dy, oz + t * dz)
            least = np.minimum(least, away / (np.float32(softness) * t))
            t = t + np.clip(away, np.float32(0.012 + 0.05 * softness), np.float32(0.35))
            on = (t < end) & (least > -1)
            if np.count_nonzero(on) < 0.8 * len(on):
                off = ~on
                seen[index[off]] = least[off]
                ox, oy, oz, dx, dy, dz, t, end, index, least = (
                    a[on] for a in (ox, oy, oz, dx, dy, dz, t, end, index, least)
                )
        seen[index] = least
        share = np.clip((seen + 1) / 2, 0, 1)  # half of the lamp is hidden where the ray grazes the solid
        return np.where(seen >= 1, np.float32(1), share * share * (3 - 2 * share)).astype(np.float32)

    def normals(self, points: Vectors) -> Vectors:
        """The outward normals [N, 3] at points on the surface, world coordinates."""
        o = self.own(points)
        normal = np.zeros_like(o)
        for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
            sign = np.array(corner, np.float32)
            x, y, z = (np.ascontiguousarray(c) for c in (o + sign * np.float32(0.002)).T)
            normal += sign * self.distance(x, y, z)[:, None]
        return np.asarray(unit(normal) @ self.rotation.T)


def unit(vectors: Vectors) -> Vectors:
    """Vectors [N, 3] of length 1 (a zero stays zero)."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return np.asarray(vectors / np.maximum(length, np.float32(1e-9))[:, None])


def rotation(axis: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """The matrix [3, 3] that turns by `angle` radians around `axis` (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)


def hull(distance: Callable[[Field, Field, Field], Field], half: tuple[float, float, float]) -> tuple[Field, Field]:
    """Points [K, 4] of a solid that may touch a table (x, y, z and a radius of solid around), and its centre of mass [3]."""
    axes = [np.linspace(-h, h, 60, dtype=np.float32) for h in half]
    x, y, z = (c.ravel() for c in np.meshgrid(*axes, indexing="ij"))
    depth = distance(x, y, z)
    points = np.stack([x, y, z, -depth], axis=1)[depth < 0]
    directions = unit(RandomState(0).standard_normal((1200, 3)).astype(np.float32))
    skin = points[points[:, 3] < 2 * max(half) / 30]
    reach = [int(np.argmax(skin[:, :3] @ direction + skin[:, 3])) for direction in directions]
    return skin[np.unique(reach)], points[:, :3].mean(axis=0)


NUDGES = 3


def at_rest(random: RandomState, points: Field, centre: Field) -> tuple[NDArray[np.float64], float]:
    """Let a solid fall: a rotation [3, 3] in which it lies on a table, and the height of its origin above the table.

    It is let go at random rotations and turns, a little at a time, wherever its centre of mass sinks; of where it comes to rest
    the lowest place counts, since a table is nudged: nuts do not stand on their sides for long.
    """

    def height(turned: NDArray[np.float64]) -> float:
        up = turned[2]
        return float(centre @ up - (points[:, :3] @ up - points[:, 3]).min())

    def fallen() -> tuple[float, NDArray[np.float64]]:
        best, _ = np.linalg.qr(random.standard_normal((3, 3)))
        best *= np.sign(np.linalg.det(best))
        lowest, stride = height(best), 0.25
        while stride > 0.002:
            for _ in range(24):
                turned = rotation(random.standard_normal(3), stride) @ best
                if height(turned) < lowest:
                    best, lowest = turned, height(turned)
                    break
            else:
                stride *= 0.6
        return lowest, best

    lowest, best = min((fallen() for _ in range(NUDGES)), key=lambda rest: rest[0])
    return best, lowest - float(centre @ best[2])
