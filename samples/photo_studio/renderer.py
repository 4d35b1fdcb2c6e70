"""A scene to linear light: one part on a surface in a room, seen by a camera.

Shading follows the usual physically based model: a diffuse base under a reflecting layer with Schlick's Fresnel term, or metal.
What a metal mirrors is traced once: the part itself, the surface below it, or the room, blurred by the roughness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from edge_adapt.samples.photo_studio.light import Room
from edge_adapt.samples.photo_studio.parts import Material
from edge_adapt.samples.photo_studio.surfaces import EXTENT, TEXELS, Surface
from edge_adapt.samples.photo_studio.tracing import CHUNK, Body, Field, Vectors, unit

_EXTRA = 3
"""How many times more samples go through the pixels that need them."""

_NEAR = np.float32(0.6)
"""So far around the part its shade is looked at closely."""

_MOST_ROUGH_TO_TRACE = 0.55
"""Rougher surfaces mirror too little to show the part in them."""

_LEAST_MIRROR_TO_TRACE = 0.2
"""What reflects less, plastic and oxide, shows nothing but the room."""

_MOST_ROUGH_TO_SHINE = 0.7
"""Rougher surfaces are taken for matt."""


@dataclass(frozen=True)
class View:
    """A camera: where it is [3], its axes [3, 3] (right, down, ahead), and the tangent of half its height as an angle."""

    place: Field
    axes: Vectors
    half_height: float

    def rays(self, x: Field, y: Field, width: int, height: int) -> Vectors:
        """Directions [N, 3] through places of a picture in pixels."""
        u = (x - np.float32(width / 2)) * np.float32(2 * self.half_height / height)
        v = (y - np.float32(height / 2)) * np.float32(2 * self.half_height / height)
        return unit(np.stack([u, v, np.ones_like(u)], axis=1).astype(np.float32) @ self.axes)


@dataclass(frozen=True)
class Scene:
    """A part on the plane z = 0.

    Attributes:
        body: the part where it lies.
        material: what it is made of.
        grain: 3-D noise [32, 32, 32] that varies its surface.
        surface: what it lies on, turned by `turn` radians and moved by `shift`.
        room: what surrounds it.
        view: the camera.
    """

    body: Body
    material: Material
    grain: Field
    surface: Surface
    turn: float
    shift: tuple[float, float]
    room: Room
    view: View


def render(scene: Scene, width: int, height: int, samples: int, random: RandomState) -> tuple[Field, Field]:
    """Linear light [height, width, 3], and the distance ahead of the camera [height, width].

    `samples` rays go through each pixel near the part, _EXTRA times as many where these disagree, as at edges and in threads, and
    one through each of the others, which noise and blur cover.
    """
    total = np.zeros((height * width, 3), np.float32)
    squares, depth, count = np.zeros((3, height * width), np.float32)
    pixels, near = np.arange(height * width), np.zeros(height * width, bool)
    spread = cone(samples)
    for sample in range(samples * _EXTRA):
        strata = np.array((sample % 2, sample // 2 % 2))[:, None]  # keep the few samples of a pixel apart
        jitter = (random.uniform(0, 1, (2, height * width)).astype(np.float32) + strata) / 2
        gloss = random.standard_normal((height * width, 3)).astype(np.float32)
        for start in range(0, len(pixels), CHUNK):
            part = pixels[start : start + CHUNK]
            x, y = (part % width) + jitter[0, part], (part // width) + jitter[1, part]
            rays = scene.view.rays(x.astype(np.float32), y.astype(np.float32), width, height)
            light, far, close = shade(scene, rays, gloss[part], spread[sample % samples])
            light = np.minimum(light, 5)  # a glint of a lamp must not outweigh the other samples of its pixel
            total[part] += light
            squares[part] += light.mean(axis=1) ** 2
            depth[part] += np.minimum(far, 60)
            count[part] += 1
            near[part] |= close
        if sample == 0:
            pixels = np.flatnonzero(near)
        elif sample == samples - 1:
            mean = total[pixels].mean(axis=1) / samples
            pixels = pixels[squares[pixels] / samples - mean**2 > (0.4 * mean) ** 2]
    return (total / count[:, None]).reshape(height, width, 3), (depth / count).reshape(height, width)


def cone(samples: int) -> Vectors:
    """Directions [samples, 3] around +z, more of them near it as the cosine goes."""
    index = np.arange(samples) + 0.5
    across, turn = np.sqrt(index / samples), index * np.pi * (3 - np.sqrt(5))
    return np.stack([across * np.cos(turn), across * np.sin(turn), np.sqrt(1 - across**2)], axis=1).astype(np.float32)


def shade(scene: Scene, rays: Vectors, gloss: Vectors, spread: Field) -> tuple[Vectors, Field, NDArray[np.bool_]]:
    """Light [N, 3] along rays from the camera, how far ahead of it [N] it comes from, and whether [N] from near the part."""
    origins = np.broadcast_to(scene.view.place, rays.shape)
    solid = scene.body.hit(origins, rays)
    table = on_table(origins, rays)
    light = np.empty_like(rays)
    on_body = solid < table
    below = ~on_body & np.isfinite(table)
    beyond = ~on_body & ~below
    light[beyond] = scene.room.mirrored(rays[beyond], np.full(int(beyond.sum()), 0.1, np.float32))
    if on_body.any():
        points = origins[on_body] + rays[on_body] * solid[on_body, None]
        light[on_body] = shade_body(scene, points, rays[on_body], gloss[on_body], spread)
    if below.any():
        points = origins[below] + rays[below] * table[below, None]
        light[below] = shade_table(scene, points, rays[below], gloss[below], spread)
    far = np.minimum(solid, table)
    closest = scene.body.own(origins + rays * np.where(np.isfinite(far), far, 0)[:, None])
    close = (np.abs(closest) < np.array(scene.body.half, np.float32) + _NEAR).all(axis=1)
    return light, far * (rays @ scene.view.axes[2]), close


def on_table(origins: Vectors, directions: Vectors) -> Field:
    """How far along each ray the plane z = 0 is met, or infinity."""
    down = -directions[:, 2]
    return np.asarray(np.where(down > 1e-4, origins[:, 2] / np.maximum(down, np.float32(1e-4)), np.float32(np.inf)))


def tile_at(scene: Scene, points: Vectors) -> tuple[Vectors, Vectors]:
    """Albedo [N, 3] and normals [N, 3] of the surface at points on it."""
    cosine, sine = np.float32(np.cos(scene.turn)), np.float32(np.sin(scene.turn))
    u = (points[:, 0] * cosine + points[:, 1] * sine + np.float32(scene.shift[0])) * np.float32(TEXELS / EXTENT)
    v = (points[:, 1] * cosine - points[:, 0] * sine + np.float32(scene.shift[1])) * np.float32(TEXELS / EXTENT)
    column, row = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    fu, fv = (u - column)[:, None], (v - row)[:, None]
    columns, rows = (column % TEXELS, (column + 1) % TEXELS), (row % TEXELS, (row + 1) % TEXELS)
    albedo, slope = np.float32(0), np.float32(0)
    for i, share_u in ((0, 1 - fu), (1, fu)):
        for j, share_v in ((0, 1 - fv), (1, fv)):
            albedo = albedo + scene.surface.albedo[rows[j], columns[i]] * (share_u * share_v)
            slope = slope + scene.surface.slope[rows[j], columns[i]] * (share_u * share_v)
    slope_x = slope[:, 0] * cosine - slope[:, 1] * sine
    slope_y = slope[:, 0] * sine + slope[:, 1] * cosine
    return albedo, unit(np.stack([-slope_x, -slope_y, np.ones_like(slope_x)], axis=1))


def lit(scene: Scene, points: Vectors, normals: Vectors, spread: Field, start: float) -> tuple[Vectors, Field]:
    """Light [N, 3] on surfaces with these normals, and how open [N] the room is above them."""
    sky = unit(normals + across(normals, spread[:2]) * np.float32(0.9))
    openness = scene.body.visibility(points, sky, softness=0.75, reach=2.5, start=start)
    light = scene.room.ambient(normals) * openness[:, None] + from_lamps(scene, points, normals, start)
    return light, openness


def from_lamps(scene: Scene, points: Vectors, normals: Vectors, start: float) -> Vectors:
    """Light [N, 3] straight from the lamps on surfaces with these normals."""
    light = np.zeros_like(points)
    for lamp in scene.room.lamps:
        towards = np.array(lamp.direction, np.float32)
        facing = np.maximum(normals @ towards, 0)
        seen = scene.body.visibility(points, towards, softness=lamp.radius, reach=12, start=start)
        light += (facing * seen)[:, None] * np.array(lamp.colour, np.float32)
    return light


def across(normals: Vectors, flat: Field) -> Vectors:
    """A direction in the plane of a surface, `flat` [2] along its two axes."""
    x, y, z = normals.T
    sign = np.where(
        z < 0, np.float32(-1), np.float32(1)
    )  # Duff et al., "Building an Orthonormal Basis, Revisited", 2017
    a = -1 / (sign + z)
    b = x * y * a
    first = np.stack([1 + sign * x * x * a, sign * b, -sign * x], axis=1)
    second = np.stack([b, sign + y * y * a, -y], axis=1)
    return np.asarray(first * flat[0] + second * flat[1])


def shade_table(scene: Scene, points: Vectors, rays: Vectors, gloss: Vectors, spread: Field) -> Vectors:
    """Light [N, 3] that the surface sends back along rays that meet it."""
    surface = scene.surface
    albedo, normals = tile_at(scene, points)
    light, openness = lit(scene, points, normals, spread, 0.01)
    rough = np.full(len(points), surface.roughness, np.float32)
    if surface.roughness > _MOST_ROUGH_TO_SHINE:
        return albedo * light
    # The room is blurred already; only what is traced has to be smeared by chance.
    seen = scene.room.mirrored(mirror(rays, normals), rough) * openness[:, None]
    if surface.roughness < _MOST_ROUGH_TO_TRACE:
        bounced = mirror(rays, unit(normals + gloss * np.float32(0.3 * surface.roughness**1.5)))
        met = scene.body.hit(points, bounced, 0.01)
        hits = np.flatnonzero(np.isfinite(met))
        if len(hits):
            seen[hits] = shade_mirrored_body(scene, points[hits] + bounced[hits] * met[hits, None], bounced[hits])
    facing = np.clip(-np.einsum("ij,ij->i", rays, normals), 0, 1)
    if surface.metal:
        return np.asarray(albedo * (seen * np.float32(0.75) + light * np.float32(0.25)))
    reflected = fresnel(np.full(3, 0.04, np.float32), facing, surface.roughness)
    return albedo * light * (1 - reflected) + seen * reflected


def shade_body(scene: Scene, points: Vectors, rays: Vectors, gloss: Vectors, spread: Field) -> Vectors:
    """Light [N, 3] that the part sends back along rays that meet it."""
    body, material = scene.body, scene.material
    normals = body.normals(points)
    own = body.own(points)
    fine, coarse = grain_at(scene.grain, own * 9), grain_at(scene.grain, own * 2.3 + 5)
    wander = (fine * np.float32(0.5) + coarse) * np.float32(material.dents)
    if material.scratches:
        lines = np.sin(own[:, :1] * 190 + grain_at(scene.grain, own * (40, 2.0, 6)) * 14)
        wander = wander + lines * np.array((0.03 * material.scratches, 0, 0), np.float32)
    normals = unit(normals + wander @ body.rotation.T)
    normals = unit(normals - rays * np.maximum(0, np.einsum("ij,ij->i", rays, normals))[:, None])  # none looks away
    light, openness = lit(scene, points, normals, spread, 0.02)
    worn = np.clip(0.5 + 0.35 * coarse[:, 0] + 0.25 * fine[:, 0], 0, 1) * np.float32(material.wear)
    rough = np.clip(np.float32(material.roughness) * (1 + worn - np.float32(0.4 * material.wear)), 0.05, 0.95)
    rough = np.minimum(
        rough + np.float32(0.6) * (1 - openness), np.float32(0.95)
    )  # fine threads scatter, and wash out the lamps
    tarnish = (1 - np.float32(0.45) * worn * (1 - openness * np.float32(0.6)) - np.float32(0.15) * worn)[:, None]
    glossy = unit(normals + gloss * (np.float32(0.25) * rough[:, None] ** np.float32(1.5)))
    glint = (np.float32(0.6) + np.float32(4.4) * openness**4)[:, None]  # between threads lamps are too fine to sample
    if max(material.mirror) < _LEAST_MIRROR_TO_TRACE:
        seen = scene.room.mirrored(mirror(rays, normals), rough) * openness[:, None]
    else:
        seen = traced(scene, points + normals * np.float32(0.015), mirror(rays, normals), mirror(rays, glossy), rough)
    facing = np.clip(-np.einsum("ij,ij->i", rays, normals), 0, 1)
    reflected = fresnel(np.array(material.mirror, np.float32) * tarnish, facing, material.roughness)
    under = np.array(material.diffuse, np.float32) * tarnish
    crevice = (np.float32(0.35) + np.float32(0.65) * openness)[:, None]
    return np.asarray(under * light * (1 - reflected) + reflected * np.minimum(seen, glint) * crevice)


def traced(scene: Scene, points: Vectors, clean: Vectors, bounced: Vectors, rough: Field) -> Vectors:
    """What a part mirrors [N, 3]: itself or the surface in the directions `bounced`, else the room in the directions `clean`."""
    seen = scene.room.mirrored(clean, rough)
    met = scene.body.hit(points, bounced, 0.005)
    table = on_table(points, bounced)
    inner = np.flatnonzero(met < table)
    if len(inner):
        seen[inner] = shade_mirrored_body(scene, points[inner] + bounced[inner] * met[inner, None], bounced[inner])
    floor = np.flatnonzero((table <= met) & (table < 15))
    if len(floor):
        spots = points[floor] + bounced[floor] * table[floor, None]
        albedo, _ = tile_at(scene, spots)
        up = np.broadcast_to(np.array((0, 0, 1), np.float32), spots.shape)
        seen[floor] = albedo * (scene.room.ambient(up) + from_lamps(scene, spots, up, 0.01))
    return seen


def shade_mirrored_body(scene: Scene, points: Vectors, rays: Vectors) -> Vectors:
    """The part as it is seen in a reflection: without shadows or a second reflection of itself."""
    normals = scene.body.normals(points)
    rough = np.full(
        len(points), 0.9, np.float32
    )  # as a mean over the neighbourhood: a thread in a thread is too fine to sample
    seen = scene.room.mirrored(mirror(rays, normals), rough) * np.float32(0.6)
    under = np.array(scene.material.diffuse, np.float32) * scene.room.ambient(normals)
    return np.asarray(under + np.array(scene.material.mirror, np.float32) * seen)


def mirror(rays: Vectors, normals: Vectors) -> Vectors:
    """Rays after a mirror with these normals."""
    return unit(rays - 2 * np.einsum("ij,ij->i", rays, normals)[:, None] * normals)


def fresnel(mirror_colour: Vectors, facing: Field, roughness: float) -> Vectors:
    """Schlick's reflectance [N, 3]; what is rough shines less at its rim (Lagarde's fit)."""
    rim = np.maximum(np.float32(1 - roughness), mirror_colour)
    return np.asarray(mirror_colour + (rim - mirror_colour) * ((1 - facing) ** 5)[:, None])


def grain_at(grain: Field, points: NDArray[np.floating]) -> Vectors:
    """Smooth noise [N, 3], about -1 to 1, at points in space; the grain repeats."""
    side = len(grain)
    points = np.asarray(points, np.float32)
    cell = np.floor(points).astype(np.int64)
    part = points - cell
    part = part * part * (3 - 2 * part)
    value = np.float32(0)
    for corner in range(8):
        bits = np.array((corner & 1, corner >> 1 & 1, corner >> 2 & 1))
        x, y, z = ((cell + bits) % side).T
        share = np.where(bits, part, 1 - part).prod(axis=1)
        value = value + grain[x, y, z] * share[:, None]
    return np.asarray(value, np.float32)
