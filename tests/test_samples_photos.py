"""The sample photos are what their script renders, what samples/README.md says of them, and photos to `adapt`."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import RandomState
from PIL import Image

from edge_adapt.runtime import model as model_module
from edge_adapt.runtime.images.folders import open_folder
from edge_adapt.runtime.model_choice import is_line_drawing, suggest_model
from edge_adapt.samples.photo_studio import surfaces, tracing
from edge_adapt.samples.photo_studio.parts import PARTS
from edge_adapt.samples.photo_studio.render_photos import (
    HEIGHT,
    PHOTOS,
    QUALITIES,
    ROLES,
    WIDTH,
    encode,
    name_of,
    photo,
    set_up,
)
from tests.conftest import TINY


def committed() -> list[Path]:
    return sorted(PHOTOS.rglob("*.jpg"))


def test_folder_holds_every_part_on_every_surface_and_nothing_else() -> None:
    expected = {
        PHOTOS / role / part / name_of(role, place)
        for role, places in ROLES.items()
        for place in places
        for part in PARTS
    }
    assert set(committed()) == {path for path in PHOTOS.rglob("*") if path.is_file()} == expected
    assert len(PARTS) >= 6
    assert [len(ROLES[role]) for role in ("support", "query")] == [5, 10]
    assert not set(ROLES["support"]) & set(ROLES["query"])


def test_photos_are_small_upright_jpegs_in_colour_and_no_two_alike() -> None:
    pixels = set()
    for path in committed():
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size, image.getexif()) == ("JPEG", "RGB", (WIDTH, HEIGHT), {})
            pixels.add(image.reduce(8).tobytes())
    assert (WIDTH, HEIGHT) == (640, 480)
    assert len(pixels) == len(committed())
    assert sum(path.stat().st_size for path in committed()) < 3_000_000


@pytest.mark.parametrize(
    ("part", "role", "place"),
    [("hex_nut", "support", "white_paper"), pytest.param("key", "query", "cardboard", marks=pytest.mark.slow)],
)
def test_the_script_renders_the_committed_photo(part: str, role: str, place: str) -> None:
    # A sixteenth of the pixels and one ray each: the same scene, with more noise.
    ours = np.asarray(photo(part, role, place, height=HEIGHT // 4, samples=1), np.float64)
    with Image.open(PHOTOS / role / part / name_of(role, place)) as image:
        theirs = np.asarray(image.reduce(4), np.float64)
    assert np.abs(ours - theirs).mean() < 8
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.95


def test_a_photo_is_encoded_as_well_as_fits() -> None:
    flat = Image.new("RGB", (WIDTH, HEIGHT), (120, 90, 60))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    for image, quality in ((flat, max(QUALITIES)), (noise, min(QUALITIES))):
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=quality, optimize=True, progressive=True)
        assert encode(image) == stream.getvalue()


@given(seed=st.integers(0, 1000), part=st.sampled_from(sorted(PARTS)), role=st.sampled_from(sorted(ROLES)))
@settings(max_examples=10, deadline=None)
def test_a_part_rests_on_the_table_and_is_all_in_the_picture(seed: int, part: str, role: str) -> None:
    plain = surfaces.Surface(np.full((8, 8, 3), 0.5, np.float32), np.zeros((8, 8, 2), np.float32), 0.5)
    scene, _, _ = set_up(part, role, plain, RandomState(seed))
    points, _ = tracing.hull(scene.body.distance, scene.body.half)
    world = points[:, :3] @ scene.body.rotation.T + scene.body.place
    assert abs((world[:, 2] - points[:, 3]).min()) < 0.01
    seen = (world - scene.view.place) @ scene.view.axes.T
    across, down = (seen[:, :2] / seen[:, 2:] / scene.view.half_height).T
    assert np.abs(down).max() < 1
    assert np.abs(across).max() < WIDTH / HEIGHT


@pytest.mark.parametrize("part", sorted(PARTS))
def test_a_part_lies_within_its_box_and_its_distances_can_be_walked(part: str) -> None:
    random, half = RandomState(1), np.array(PARTS[part].half, np.float32)
    distance = PARTS[part].shape(1.0)
    points = (random.uniform(-1.5, 1.5, (20_000, 3)) * half).astype(np.float32)
    steps = tracing.unit(random.standard_normal(points.shape).astype(np.float32)) * np.float32(0.01)
    outside = (np.abs(points) > half).any(axis=1)
    here = distance(*np.ascontiguousarray(points.T))
    there = distance(*np.ascontiguousarray((points + steps).T))
    assert (here[outside] > 0).all()
    assert (here < 0).mean() > 0.003
    # A ray that walks by these distances may step a little too far, but not through a wall.
    slopes = np.abs(there - here)[np.abs(here) < 0.05] / 0.01
    assert np.quantile(slopes, 0.99) < 1.5


def test_rays_meet_a_ball_where_geometry_says() -> None:
    ball = tracing.Body(
        lambda x, y, z: np.asarray(np.sqrt(x * x + y * y + z * z) - np.float32(0.8)),
        (0.8, 0.8, 0.8),
        tracing.rotation(np.array((1.0, 2.0, 3.0)), 0.7).astype(np.float32),
        np.array((0.3, -0.2, 1.0), np.float32),
    )
    random = RandomState(0)
    origins = random.uniform(-4, 4, (2000, 3)).astype(np.float32)
    origins = origins[np.linalg.norm(origins - ball.place, axis=1) > 1.0]
    rays = tracing.unit((ball.place - origins + random.normal(0, 0.7, origins.shape)).astype(np.float32))
    towards = np.einsum("ij,ij->i", ball.place - origins, rays).astype(np.float64)
    squared = 0.64 - (np.sum((ball.place - origins).astype(np.float64) ** 2, axis=1) - towards**2)
    clear = np.abs(squared) > 0.01  # neither grazes
    met = ball.hit(origins, rays)[clear]
    expected = np.where((squared > 0) & (towards > 0), towards - np.sqrt(np.maximum(squared, 0)), np.inf)[clear]
    np.testing.assert_allclose(met, expected, atol=0.02)
    found = np.isfinite(met)
    normals = ball.normals((origins[clear] + rays[clear] * met[:, None])[found])
    outward = (origins[clear] + rays[clear] * met[:, None])[found] - ball.place
    np.testing.assert_allclose(normals, tracing.unit(outward), atol=0.02)


@pytest.mark.parametrize("place", ["cutting_mat", "denim", "galvanized", "walnut_planks"])
def test_a_tile_repeats_without_a_seam(place: str) -> None:
    tile = surfaces.QUERY[place](RandomState(3)).albedo.mean(axis=2)
    for axis in (0, 1):
        inner = np.abs(np.diff(tile, axis=axis)).mean(axis=1 - axis)
        seam = np.abs(tile.take(0, axis) - tile.take(-1, axis)).mean()
        assert seam <= inner.max() * 1.5


@pytest.fixture
def both_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tiny.edge in the place of both models that come with the package."""
    (tmp_path / "models").mkdir()
    for name in ("characters", "photos"):
        shutil.copy(TINY, tmp_path / "models" / f"{name}.edge")
    monkeypatch.setattr(model_module, "MODELS", tmp_path / "models")


@pytest.mark.usefixtures("both_models")
def test_the_photos_get_the_model_for_photos_in_colour_and_in_grey() -> None:
    for role in ROLES:
        classes = open_folder(PHOTOS / role).classes.values()
        assert suggest_model([file for files in classes for file in files]) == "photos"
        grey = [Image.open(io.BytesIO(file.read())).convert("L") for files in classes for file in files]
        assert suggest_model(grey) == "photos"
        # In grey, a key on white paper that mirrors a dark room is hard to tell from a drawing of one.
        assert sum(map(is_line_drawing, grey)) <= 1


def test_no_sample_photo_is_a_drawing() -> None:
    assert not [path for path in committed() if is_line_drawing(Image.open(path))]


@pytest.mark.usefixtures("both_models")
@pytest.mark.parametrize("part", sorted(PARTS))
def test_few_photos_of_one_part_or_of_two_get_the_model_for_photos(part: str) -> None:
    photos = {other: sorted((PHOTOS / "support" / other).iterdir())[2:] for other in PARTS}  # on light surfaces
    assert all(suggest_model(photos[part] + photos[other] * (other != part)) == "photos" for other in PARTS)
