"""What a classifier or a regressor is, in JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edge_adapt.runtime.bundle.history_json import SupportImage
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.regressor.regressor import Regressor


def state_json(mine: Classifier | Regressor) -> dict[str, Any]:
    """What openapi.py calls a State."""
    adaptation, history = mine.adaptation, mine.history
    state: dict[str, Any] = {
        "kind": "classifier" if isinstance(mine, Classifier) else "regressor",
        "model": mine.manifest.name,
        "steps": mine.steps,
        "losses": list(adaptation.losses),
        "last_edit": history.edits[history.done - 1].what if history.done else None,
        "undone": history.edits[history.done].what if history.done < len(history.edits) else None,
    }
    images = mine.support.images
    if isinstance(mine, Classifier):
        by_class: dict[str, list[dict[str, Any]]] = {}
        for image in images:
            by_class.setdefault(image.label, []).append(_image(image))
        classes = [{"label": label, "images": of_label} for label, of_label in by_class.items()]
        return state | {"classes": classes, "estimate": mine.estimate and asdict(mine.estimate)}
    errors = zip(mine.names, mine.errors.mean, mine.errors.bound, strict=True)
    return state | {
        "images": [_image(image) | {"values": dict(zip(mine.names, image.values, strict=True))} for image in images],
        "errors": {name: {"mean": mean, "bound": bound} for name, mean, bound in errors},
    }


def log_json(mine: Classifier | Regressor) -> dict[str, Any]:
    """The edits, the first to the last."""
    history = mine.history
    return {
        "edits": [
            {"at": edit.at, "what": edit.what, "done": number < history.done}
            for number, edit in enumerate(history.edits)
        ]
    }


def _image(image: SupportImage) -> dict[str, Any]:
    return {"name": image.name, "sha256": image.sha256}
