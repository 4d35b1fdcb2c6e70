"""Augmentation on the training device: whole batches of images at once, drawn from a generator there."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LEAST_AREA = 0.3
"""The smallest part of a photo that a crop keeps."""

ASPECT = 4 / 3
"""The largest ratio by which a crop stretches a photo to either side."""

JITTER = 0.4
"""Brightness, contrast and saturation change by up to this factor."""

THICK, HOLLOW = 0.15, 0.1
"""Parts of drawings whose strokes are drawn thicker, and in outline."""

THICKEST = 2.5
"""What is added around a stroke at most, pixels."""

FAINTEST = 0.4
"""The least ink of an outline."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow turns RGB to grey


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed, and in which sizes the backbone sees them.

    Attributes:
        image_size: height and width, pixels.
        enabled: whether they are changed at all.
        crop_sizes: heights and widths of photos, each for an equal part of the budget; empty for that of the images.
    """

    image_size: int
    enabled: bool = False
    crop_sizes: tuple[int, ...] = ()

    def size_at(self, spent: float) -> int:
        """Height and width where this share of the budget, 0 to 1, is behind."""
        sizes = self.crop_sizes or (self.image_size,)
        return sizes[min(int(spent * len(sizes) + 1e-9), len(sizes) - 1)]

    def at(self, spent: float, generator: torch.Generator) -> Callable[[Tensor], Tensor] | None:
        """What to do to images uint8 [B, H, W, C] then; None for nothing."""
        return (lambda images: augment(images, generator, self.size_at(spent))) if self.enabled else None


def augment(images: Tensor, generator: torch.Generator, size: int | None = None) -> Tensor:
    """Change each image a little, as another hand or another camera would.

    Photos, RGB: a random crop, mirrored or not, with other brightness, contrast and saturation (Szegedy et al., "Going deeper
    with convolutions", CVPR 2015, https://arxiv.org/abs/1409.4842; Howard, 2013, https://arxiv.org/abs/1312.5402). Drawings,
    grey, dark strokes on a light ground: some in thicker strokes or in outline, turned, scaled, slanted and shifted, and not
    mirrored, for a mirrored character is another one.

    Args:
        images: uint8 [B, H, W, C], C of 1 (grey) or 3 (RGB).
        generator: on the images' device.
        size: height and width to give photos; None keeps theirs.

    Returns:
        float32 [B, H, W, C] in 0..255, or [B, size, size, C].
    """
    pixels = images.permute(0, 3, 1, 2).to(torch.float32)
    if pixels.shape[1] == 3:
        height, width = (size, size) if size else pixels.shape[2:]
        return jitter_colours(random_crops(pixels, height, width, generator), generator).permute(0, 2, 3, 1)
    return random_affine(random_strokes(pixels, generator), generator).permute(0, 2, 3, 1)


def random_maps(count: int, channels: int, generator: torch.Generator) -> Tensor:
    """What `augment` does to `count` images but for their colours and strokes: float32 [count, 2, 3], for `seen_through`."""
    return _crops(count, generator) if channels == 3 else _turns(count, generator)


def random_crops(images: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Cut a random part out of each image, mirror every other one, and scale it to one size.

    Args:
        images: float [B, C, H, W].
        height, width: of the result, pixels.
        generator: on the images' device.

    Returns:
        float [B, C, height, width].
    """
    return seen_through(images, _crops(len(images), generator), height, width)


def _crops(count: int, generator: torch.Generator) -> Tensor:
    """Parts of photos, every other one mirrored, as maps [count, 2, 3]."""
    uniform = _Uniform(count, generator)
    area = 1 - (1 - LEAST_AREA) * (1 + uniform(1)) / 2
    stretch = (uniform(1) * torch.log(torch.tensor(ASPECT))).exp()
    across, down = (area * stretch).sqrt().clamp(max=1), (area / stretch).sqrt().clamp(max=1)  # shares of the image
    x, y = uniform(1) * (1 - across), uniform(1) * (1 - down)  # of the centre, in half-widths of the image
    mirrored = torch.where(uniform(1) < 0, -across, across)
    zero = torch.zeros_like(x)
    return torch.stack([torch.stack([mirrored, zero, x], dim=-1), torch.stack([zero, down, y], dim=-1)], dim=1)


def jitter_colours(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and saturation of RGB images, float [B, 3, H, W] in 0..255."""
    uniform = _Uniform(len(images), generator)

    def factor() -> Tensor:
        return (1 + uniform(JITTER)).view(-1, 1, 1, 1)

    bright = images * factor()
    mean = bright.mean((1, 2, 3), keepdim=True)
    contrasted = mean + (bright - mean) * factor()
    grey = (contrasted * contrasted.new_tensor(_LUMA).view(3, 1, 1)).sum(1, keepdim=True)
    return (grey + (contrasted - grey) * factor()).clamp(0, 255)


def random_affine(images: Tensor, generator: torch.Generator) -> Tensor:
    """Turn, scale, slant and shift each image a little.

    One image in four stays as it is, so that the network also sees pixels that no interpolation has softened.

    Args:
        images: float [B, C, H, W].
        generator: on the images' device.
    """
    return seen_through(images, _turns(len(images), generator), *images.shape[2:])


def random_strokes(images: Tensor, generator: torch.Generator) -> Tensor:
    """Draw the strokes of some images thicker, as another pen would, and of some in outline, as fonts do.

    Args:
        images: float [B, 1, H, W] in 0..255, dark strokes on a light ground.
        generator: on the images' device.
    """
    uniform = _Uniform(len(images), generator)
    chosen, width, tone = (uniform(0.5) + 0.5).view(-1, 1, 1, 1), uniform(0.5) + 0.5, uniform(0.5) + 0.5
    other = (chosen < THICK + HOLLOW).flatten()
    hollow, width, tone = (drawn[other].view(-1, 1, 1, 1) for drawn in (chosen < HOLLOW, THICKEST * width, tone))
    ink = 255 - images[other]
    for step in range(math.ceil(THICKEST)):
        ink = torch.lerp(ink, _grown(ink, step), (width - step).clamp(0, 1))
    outline = (_grown(ink, 1) - ink) * (FAINTEST + (1 - FAINTEST) * tone)
    drawn = images.clone()
    drawn[other] = 255 - torch.where(hollow, outline, ink)
    return drawn


def _grown(ink: Tensor, step: int) -> Tensor:
    """Ink [B, 1, H, W] a pixel wider on all sides, by turns as a cross and as a square, so that its corners stay round."""
    tall = _spread(ink, 2)
    return _spread(tall, 3) if step % 2 else torch.maximum(tall, _spread(ink, 3))


def _spread(ink: Tensor, axis: int) -> Tensor:
    """The largest of each pixel and its two neighbours along an axis."""
    spread = ink.clone()
    length = ink.shape[axis] - 1
    for start in (0, 1):
        part, beside = spread.narrow(axis, start, length), ink.narrow(axis, 1 - start, length)
        torch.maximum(part, beside, out=part)
    return spread


def _turns(count: int, generator: torch.Generator) -> Tensor:
    """Drawings turned, scaled, slanted and shifted, three in four of them, as maps [count, 2, 3]."""
    uniform = _Uniform(count, generator)
    angle, slant = uniform(0.2), uniform(0.15)  # radians; shear
    scale_x, scale_y = uniform(0.12).exp(), uniform(0.12).exp()
    shift_x, shift_y = uniform(0.12), uniform(0.12)  # in half-widths of the image
    rows = torch.stack(
        [
            torch.stack([angle.cos() * scale_x, slant - angle.sin() * scale_y, shift_x], dim=-1),
            torch.stack([angle.sin() * scale_x, angle.cos() * scale_y, shift_y], dim=-1),
        ],
        dim=1,
    )  # [B, 2, 3]
    untouched = uniform(1) < -0.5
    rows[untouched] = torch.eye(2, 3, device=rows.device)
    return rows


class _Uniform:
    """Draws a number for each image, uniform between -limit and limit."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self._count, self._generator = count, generator

    def __call__(self, limit: float) -> Tensor:
        drawn = torch.rand(self._count, generator=self._generator, device=self._generator.device)
        return (2 * drawn - 1) * limit


def seen_through(images: Tensor, maps: Tensor, height: int, width: int) -> Tensor:
    """Float images [B, C, H, W] seen through affine maps [B, 2, 3], as `torch.nn.functional.affine_grid` takes them.

    Returns:
        float [B, C, height, width].
    """
    shape = [len(images), images.shape[1], height, width]
    with torch.autocast(images.device.type, enabled=False):  # in bfloat16 a grid is off by half a pixel in 256
        grid = functional.affine_grid(maps, shape, align_corners=False)
        return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
