"""Photos that read a value, for tests/data/tiny.edge: how high a bright bar is on a dark ground."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def bars(values: NDArray[np.float64], seed: int = 0) -> list[NDArray[np.uint8]]:
    """Noisy pictures uint8 [32, 32, 3] of bars, 0 to 1 of the height."""
    random = np.random.default_rng(seed)
    images = []
    for value in values:
        level = random.uniform(-15, 15)
        picture = np.full((32, 32, 3), 50.0) + level
        picture[round(32 * (1 - value)) :] += 150
        images.append(np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8))
    return images


def write_table(folder: Path, values: NDArray[np.float64], seed: int = 0) -> Path:
    """Pictures in a folder, and the CSV that says what each reads, as litres; returns the CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, (value, picture) in enumerate(zip(values, bars(values, seed), strict=True)):
        Image.fromarray(picture).save(folder / f"{number}.png")
        rows.append([f"{number}.png", f"{10 * value:.3f}"])
    path = folder / "tank.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["image", "litres"], *rows])
    return path
