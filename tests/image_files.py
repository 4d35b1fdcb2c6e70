"""Image files for tests of what reads them, and the sentence that says why they cannot be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.runtime.errors import DataError, EdgeAdaptError


def noise(seed: int, shape: tuple[int, ...] = (6, 6)) -> NDArray[np.uint8]:
    """Random pixels, uint8."""
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def write(root: Path, tree: Mapping[str, NDArray[np.uint8] | bytes]) -> Path:
    """Images of these pixels, or files of these bytes, by their path below `root`; returns `root`."""
    for name, content in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (root / name).write_bytes(content)
        else:
            Image.fromarray(content).save(root / name)
    return root


def refusal(start: Callable[[], object], kind: type[EdgeAdaptError] = DataError) -> str:
    """The one sentence that a refusal says."""
    with pytest.raises(kind) as caught:
        start()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message
