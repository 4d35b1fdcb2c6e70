"""The meta-model tests/data/tiny.edge: photos that it tells apart, and variants of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_adapt.runtime.bundle.bundle import Adaptation, Bundle, Manifest, write_bundle
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.prediction import Prediction
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.images import ImageSource
from tests.conftest import TINY

Photos = dict[str, list[NDArray[np.uint8]]]


def photos(counts: Mapping[str, int], seed: int = 0, noise: float = 25) -> Photos:
    """Noisy 8x8 colour images; a class is a picture."""
    random = np.random.default_rng(seed)
    patterns = {
        label: np.random.default_rng(index).integers(40, 216, (8, 8, 3)) for index, label in enumerate("abcdefgh")
    }
    return {
        label: [
            np.clip(patterns[label] + random.normal(0, noise, (8, 8, 3)), 0, 255).astype(np.uint8) for _ in range(count)
        ]
        for label, count in counts.items()
    }


def variant(
    path: Path, adaptation: Adaptation | None = None, graphs: Mapping[str, bytes] | None = None, **changes: Any
) -> Path:
    """A bundle that differs from tiny.edge in these fields of its manifest, or in its graphs; returns `path`."""
    bundle = Bundle.open(TINY)
    manifest: Manifest = dataclasses.replace(bundle.manifest, **changes)
    write_bundle(path, manifest, graphs or bundle.graphs(), adaptation)
    return path


def refusal(start: Callable[[], object], kind: type[EdgeAdaptError]) -> str:
    """The one sentence that a refusal says."""
    with pytest.raises(kind) as caught:
        start()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in message and message.endswith(".")
    return message


def predictions(classifier: Classifier, images: Iterable[ImageSource]) -> list[Prediction]:
    """`classify_all` of images that can be read."""
    found = classifier.classify_all(images)
    assert all(isinstance(prediction, Prediction) for prediction in found)
    return cast("list[Prediction]", found)
