"""Labelled images drawn on the fly: noisy gratings, whose classes differ in angle and period and whose phase is random.

An untrained backbone tells them apart a little better than chance; a few seconds of meta-training bring it near 90%.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.runtime.data.dataset import ImageDataset

ANGLES = 8


def grating(
    random: np.random.Generator, angle: float, period: float, size: int, noise: float = 40
) -> NDArray[np.uint8]:
    """uint8 [size, size]: a wave of random phase and contrast along `angle` (radians), `period` pixels long."""
    y, x = np.mgrid[:size, :size]
    along = x * np.cos(angle) + y * np.sin(angle)
    wave = np.sin(2 * np.pi * (along / period + random.uniform()))
    pixels = 128 + random.uniform(40, 90) * wave + random.normal(0, noise, (size, size))
    clipped: NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)
    return clipped


def gratings(classes: int, per_class: int, *, seed: int = 0, turn: float = 0, size: int = 28) -> ImageDataset:
    """Gray gratings, [classes * per_class, size, size, 1].

    Args:
        classes: eight angles with one period, then eight with the next.
        per_class: images of each.
        seed: of phases, contrast and noise.
        turn: moves every angle, in steps between neighbouring angles; a half gives classes that are new.
        size: height and width, pixels.
    """
    random = np.random.default_rng(seed)
    images = [
        grating(random, np.pi * (label % ANGLES + turn) / ANGLES, 3.5 + 1.7 * (label // ANGLES), size)
        for label in range(classes)
        for _ in range(per_class)
    ]
    names = tuple(f"grating {label:02d}" for label in range(classes))
    starts = np.arange(classes + 1, dtype=np.int64) * per_class
    return ImageDataset("gratings", np.stack(images)[..., None], names, starts)


def write_images(root: Path, data: ImageDataset) -> Path:
    """Write a data set as a folder with one sub-folder of PNGs a class; returns `root`."""
    for name, start, stop in zip(data.class_names, data.starts[:-1], data.starts[1:], strict=True):
        (root / name).mkdir(parents=True)
        for index, image in enumerate(data.images[start:stop]):
            Image.fromarray(np.squeeze(image, -1) if image.shape[-1] == 1 else image).save(
                root / name / f"{index:03d}.png"
            )
    return root
