"""What is said of an image, as the JSON that commands print and that is sent elsewhere."""

from __future__ import annotations

from typing import Any

from edge_adapt.runtime.classifier.adapted import Adapted
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.prediction import Prediction
from edge_adapt.runtime.classifier.rejection import UNKNOWN_AT
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.regressor.regressor import Measurement, Regressor


def answer(mine: Adapted, image: EmbeddedImage, unknown_at: float = UNKNOWN_AT) -> dict[str, Any]:
    """What a classifier or a regressor says of an image; see `answer_json`.

    Args:
        mine: which of the two it is.
        image: embedded by its graphs.
        unknown_at: as `Classifier.classify` takes it; a regressor has no use for it.
    """
    if isinstance(mine, Classifier):
        return answer_json(image.name, mine.classify_embedded(image, unknown_at=unknown_at))
    assert isinstance(mine, Regressor)
    return answer_json(image.name, mine.predict_embedded(image))


def answer_json(image: str, said: Prediction | Measurement) -> dict[str, Any]:
    """`image`, `label`, `confidence`, `known`, `familiarity` and `scores`; of values `image`, `values` and `intervals`."""
    if isinstance(said, Measurement):
        return {"image": image, "values": dict(said.values), "intervals": dict(said.intervals)}
    return {
        "image": image,
        "label": said.label,
        "confidence": said.confidence,
        "known": said.known,
        "familiarity": said.familiarity,
        "scores": dict(said.scores),
    }
