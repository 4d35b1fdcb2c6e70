"""Makes the golden files of runtime/web/tests: bundles that Python writes, and what it says of images with them.

python -m tests.web_goldens
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_adapt.runtime.bundle.card import Priors
from edge_adapt.runtime.checking import check
from edge_adapt.runtime.classifier.support import OTHER
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from edge_adapt.runtime.images.views import PHOTO_VIEWS
from edge_adapt.runtime.model import load_model
from tests.conftest import TINY
from tests.tiny_model import photos, variant
from tests.value_photos import bars
from tests.web_program import WEB

GOLDEN = WEB / "tests" / "golden"
NUMBERS = [0.0, -0.0, 1.0, 1e16, 1e15, 123456789.0, 1e-4, 1e-5, 1.5e-7, 2 / 3, 1e22, 5e-324, float(np.float32(0.1))]


def rgba(pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """An image as the library takes it, its bytes in base64."""
    opaque = np.full((*pixels.shape[:2], 4 - pixels.shape[2]), 255, np.uint8)
    data = np.concatenate([pixels, opaque], axis=2).tobytes()
    return {"data": base64.b64encode(data).decode("ascii"), "width": pixels.shape[1], "height": pixels.shape[0]}


def preprocessed() -> list[dict[str, Any]]:
    """Images of several shapes, and the SHA-256 of what becomes of them."""
    random = np.random.default_rng(0)
    cases = []
    for height, width in ((1, 1), (9, 31), (31, 9), (24, 24)):
        pixels = random.integers(0, 256, (height, width, 4)).astype(np.uint8)
        for channels, part, ground in ((3, 1.0, "any"), (1, 0.875, "light"), (3, 0.5, "light")):
            preprocessing = Preprocessing(12, 10, channels, part=part, ground=ground)
            due = hashlib.sha256(preprocess(Image.fromarray(pixels), preprocessing).tobytes()).hexdigest()
            cases.append({"image": rgba(pixels), "preprocessing": dataclasses.asdict(preprocessing), "sha256": due})
    return cases


def write(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(exist_ok=True)
    model = load_model(
        variant(
            folder / "model.edge", priors=Priors(0.7, -0.3, 0.1, -1.0, 0.2), support_views=PHOTO_VIEWS, golden=None
        ),
        "cpu",
    )
    pictures = photos({"a": 4, "b": 2, "c": 1})
    pictures["b"].append(pictures["a"].pop())
    mine = model.adapt(pictures).add(OTHER, photos({"g": 1})["g"]).rename("c", "\u00fcber").undo()
    mine.save(folder / "mine.edge")
    values = np.linspace(0.1, 0.9, 4)
    gauge = load_model(TINY, "cpu").regress(bars(values), 10 * values, ["litres"])
    gauge.save(folder / "gauge.edge")
    queries = [*photos({"a": 1, "b": 1, "g": 1}, 3).values()]
    bar, estimate = bars(np.array([0.4]), 1)[0], mine.estimate
    answers = {
        "numbers": [[number, repr(number)] for number in NUMBERS],
        "preprocessed": preprocessed(),
        "predictions": [{"image": rgba(image), **dataclasses.asdict(mine.classify(image))} for (image,) in queries],
        "findings": [dataclasses.asdict(finding) for finding in check(folder / "mine.edge", provider="cpu")],
        "estimate": estimate and dataclasses.asdict(estimate),
        "measurement": {"image": rgba(bar), **dataclasses.asdict(gauge.predict(bar))},
    }
    (folder / "answers.json").write_text(json.dumps(answers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(GOLDEN)
