"""Augmentation: what it changes, what it leaves, and that it is what Pillow or NumPy would give."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

pytest.importorskip("torch")

import torch

from edge_adapt.methods import augmentation
from edge_adapt.methods.augmentation import augment, jitter_colours, random_affine, random_crops, random_strokes


def test_augmentation_turns_some_images_a_little_and_leaves_some_alone() -> None:
    images = torch.rand(400, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    changed = random_affine(images, torch.Generator().manual_seed(1))
    assert changed.shape == images.shape
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(images, changed, strict=True)]
    assert 0.15 < np.mean(same) < 0.35
    assert torch.equal(changed, random_affine(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(changed, random_affine(images, torch.Generator().manual_seed(2)))
    assert changed.min() >= images.min() and changed.max() <= images.max()


def test_augmentation_moves_the_middle_by_no_more_than_it_says() -> None:
    size = 61
    images = torch.zeros(300, 1, size, size)
    images[:, :, size // 2, size // 2] = 1
    spread = torch.nn.functional.max_pool2d(images, 3, 1, 1)  # a dot that no interpolation loses
    changed = random_affine(spread, torch.Generator().manual_seed(3))
    weights = changed[:, 0] / changed[:, 0].sum((1, 2), keepdim=True)
    axis = torch.arange(size) - size // 2
    for total in (weights.sum(2), weights.sum(1)):
        center = (total * axis).sum(1).abs().max()
        # 0.12 half-widths, through a matrix that turns, slants and scales by at most 1.6 together.
        assert 1 < center < 0.12 * size / 2 * 1.6 + 1


def test_augmentation_is_in_float32_under_autocast() -> None:
    images = torch.rand(8, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    expected = random_affine(images, torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        found = random_affine(images, torch.Generator().manual_seed(1))
    assert torch.equal(found, expected)


def test_some_strokes_are_drawn_otherwise_and_the_others_stay_as_they_are() -> None:
    images = 255 * torch.rand(2000, 1, 9, 9, generator=seeded(0))
    drawn = random_strokes(images, seeded(1))
    changed = (drawn != images).flatten(1).any(1).float().mean()
    assert changed == pytest.approx(augmentation.THICK + augmentation.HOLLOW, abs=0.03)
    assert torch.equal(drawn, random_strokes(images, seeded(1)))
    assert drawn.min() >= 0 and drawn.max() <= 255


def test_thick_strokes_are_the_strokes_and_what_lies_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "THICK", 1.0)
    monkeypatch.setattr(augmentation, "HOLLOW", 0.0)
    images = (255 * (torch.rand(200, 1, 15, 15, generator=seeded(2)) > 0.02)).to(torch.uint8)
    drawn = random_strokes(images.float(), seeded(3))[:, 0]
    darkest = [Image.fromarray(image.numpy()).filter(ImageFilter.MinFilter(7)) for image in images[:, 0]]
    assert (drawn <= images[:, 0]).all()
    assert (drawn >= torch.from_numpy(np.stack([np.asarray(image) for image in darkest]))).all()
    ink = (255 - drawn).sum((1, 2)) / (255 - images.float()).sum((1, 2, 3)).clamp(min=1)
    assert ink.quantile(0.1) < 5 and ink.quantile(0.9) > 12  # of a dot: itself, or the 13 to 21 pixels around it


def test_an_outline_runs_around_the_stroke_and_leaves_it_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "THICK", 0.0)
    monkeypatch.setattr(augmentation, "HOLLOW", 1.0)
    image = torch.full((1, 1, 17, 17), 255.0)
    image[..., 7:10, 7:10] = 0
    outlines = random_strokes(image.expand(300, -1, -1, -1), seeded(4))[:, 0]
    assert (outlines[:, 7:10, 7:10] == 255).all()
    assert (outlines[:, 0] == 255).all() and (outlines[:, :, 0] == 255).all()
    darkest = 255 - outlines.amin((1, 2))
    assert darkest.min() > 100 * augmentation.FAINTEST and darkest.max() > 230
    middle = outlines[:, 8]  # from paper over the line to the empty middle and out again
    assert torch.allclose(middle, middle.flip(1)) and (middle[:, :7].amin(1) < 255).all()


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(batch: int, size: int) -> torch.Tensor:
    """Pixels that say where they are: red grows from left to right, green from top to bottom."""
    x = torch.linspace(0, 255, size).expand(batch, size, size)
    return torch.stack([x, x.transpose(1, 2), torch.full_like(x, 128)], dim=1)


def test_crops_show_the_part_of_the_photo_that_they_say() -> None:
    crops = random_crops(ramp(500, 61), 20, 20, seeded(0))
    assert crops.shape == (500, 3, 20, 20)
    left, right = crops[:, 0, :, 0].mean(1), crops[:, 0, :, -1].mean(1)
    top, bottom = crops[:, 1, 0].mean(1), crops[:, 1, -1].mean(1)
    assert 0.4 < (left < right).float().mean() < 0.6  # every other one is mirrored
    assert (top < bottom).all()  # and none stands on its head
    # Pixels stand for their middle: a crop of n pixels spans (n - 1) / n of what it shows.
    across, down = (right - left).abs() / 255 * 20 / 19, (bottom - top) / 255 * 20 / 19
    area, aspect = across * down, across / down
    assert augmentation.LEAST_AREA * 0.9 < area.min() < augmentation.LEAST_AREA * 1.2
    assert 0.9 < area.max() < 1.05
    assert aspect.max() < augmentation.ASPECT * 1.05 and aspect.min() > 0.95 / augmentation.ASPECT


def test_a_crop_of_everything_is_the_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "LEAST_AREA", 1.0)
    monkeypatch.setattr(augmentation, "ASPECT", 1.0)
    photo = ramp(8, 16)
    for crop, original in zip(random_crops(photo, 16, 16, seeded(1)), photo, strict=True):
        assert torch.allclose(crop, original, atol=0.01) or torch.allclose(crop, original.flip(2), atol=0.01)


def test_colours_change_by_brightness_then_contrast_then_saturation(monkeypatch: pytest.MonkeyPatch) -> None:
    photo = torch.randint(60, 120, (1, 3, 8, 8), generator=seeded(0)).float()
    factors = [1.3, 0.8, 0.7]
    monkeypatch.setattr(augmentation._Uniform, "__call__", lambda self, limit: torch.tensor([factors.pop(0) - 1]))
    changed = jitter_colours(photo, seeded(0))[0].permute(1, 2, 0).numpy()
    expected = photo[0].permute(1, 2, 0).numpy() * 1.3
    expected = expected.mean() + (expected - expected.mean()) * 0.8
    grey = expected @ [0.299, 0.587, 0.114]
    assert not factors
    np.testing.assert_allclose(changed, grey[..., None] + (expected - grey[..., None]) * 0.7, rtol=1e-5)
    assert np.abs(grey.round() - np.asarray(Image.fromarray(expected.round().astype(np.uint8)).convert("L"))).max() <= 1


def test_photos_are_cropped_and_drawings_drawn_otherwise_and_turned() -> None:
    photos = torch.randint(0, 256, (6, 16, 16, 3), generator=seeded(0), dtype=torch.uint8)
    assert augment(photos, seeded(1)).shape == (6, 16, 16, 3)
    smaller = augment(photos, seeded(1), 10)
    assert smaller.shape == (6, 10, 10, 3) and smaller.dtype == torch.float32
    assert smaller.min() >= 0 and smaller.max() <= 255
    assert torch.equal(smaller, augment(photos, seeded(1), 10))
    drawings = photos[..., :1]
    generator = seeded(1)
    expected = random_affine(random_strokes(drawings.permute(0, 3, 1, 2).float(), generator), generator)
    assert torch.equal(augment(drawings, seeded(1)), expected.permute(0, 2, 3, 1))
