"""The edits of a classifier as a bundle keeps them: `history.json`, and the features of the images that came and went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_adapt.runtime.bundle.strict_json import LARGEST_FLOAT, Fields, dump_json, load_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

HISTORY = "history.json"
HISTORY_FEATURES = "history/features.npy"

MAX_EDITS = 200
"""Edits that are kept; of more, the first are forgotten."""


@dataclass(frozen=True, eq=False)
class SupportImage:
    """An image of a support set.

    Attributes:
        label: the name of its class, or `OTHER` where it is of none; empty in regression.
        name, sha256: as of `Shot`.
        features: float32 [D].
        values: what it reads, in regression: T of them, as float32 holds them.
    """

    label: str
    name: str
    sha256: str
    features: NDArray[np.float32]
    values: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Edit:
    """One step from a support set to the next.

    Attributes:
        what: in words, one line.
        at: when, in UTC, as ISO 8601 writes it.
        lost: the images that went.
        gained: the images that came; a renamed or corrected one goes and comes.
    """

    what: str
    at: str
    lost: tuple[SupportImage, ...]
    gained: tuple[SupportImage, ...]


@dataclass(frozen=True, eq=False)
class History:
    """The edits of a classifier, the first to the last; those from `done` on are undone, and can be done again."""

    edits: tuple[Edit, ...] = ()
    done: int = 0


def history_to_json(history: History, path: str) -> tuple[bytes, NDArray[np.float32]]:
    """The bytes of `history.json`, and the features of its images, each once, float32 [P, D]."""
    rows: dict[bytes, int] = {}

    def described(images: Sequence[SupportImage]) -> list[dict[str, Any]]:
        return [
            {
                "label": image.label,
                "name": image.name,
                "sha256": image.sha256,
                "row": rows.setdefault(image.features.tobytes(), len(rows)),
                **({"values": image.values} if image.values else {}),
            }
            for image in images
        ]

    edits = [
        {"what": edit.what, "at": edit.at, "lost": described(edit.lost), "gained": described(edit.gained)}
        for edit in history.edits
    ]
    features = np.stack([np.frombuffer(row, np.float32) for row in rows])
    return dump_json({"done": history.done, "edits": edits}, f"{path}: {HISTORY}"), features


def history_from_json(data: bytes, features: NDArray[Any], feature_size: int, value_count: int, path: str) -> History:
    """Reads `history.json` of the bundle at `path` with the features of its images. Raises BundleError.

    Args:
        data: the entry.
        features: float32 [P, D], if they are what they should be.
        feature_size: D.
        value_count: T in regression, and 0 in classification.
        path: of the bundle, for messages.
    """
    fields = Fields(load_json(data, f"{path}: {HISTORY}"), f"{path}: {HISTORY}")
    if features.dtype != np.float32 or features.ndim != 2 or features.shape[1] != feature_size:
        fields.fail(f"has features {features.dtype} {list(features.shape)} for float32 of {feature_size} each")
    edits = []
    for item in fields.items("edits", MAX_EDITS):
        edit = Fields(item, f'{fields.where} ("edits")')
        lost, gained = (_images(edit, key, features, value_count) for key in ("lost", "gained"))
        edits.append(Edit(edit.line("what"), edit.line("at"), lost, gained))
        edit.done()
        if not lost and not gained:
            fields.fail("has an edit of nothing")
    history = History(tuple(edits), fields.integer("done", 0, len(edits)))
    fields.done()
    if not edits:
        fields.fail("has no edit")
    return history


def _images(edit: Fields, key: str, features: NDArray[np.float32], value_count: int) -> tuple[SupportImage, ...]:
    images = []
    for item in edit.items(key):
        image = Fields(item, f'{edit.where} ("{key}")')
        row = features[image.integer("row", 0, len(features) - 1)]
        label, name = image.line("label", empty=value_count > 0), image.line("name", empty=True)
        given = image.items("values") if value_count else []
        values = tuple(image.check_number(value, "a value", -LARGEST_FLOAT, LARGEST_FLOAT) for value in given)
        images.append(SupportImage(label, name, image.sha256("sha256"), row, values))
        image.done()
        if len(values) != value_count or (label and values):
            edit.fail(
                f"has an image with a class, or with other than {value_count} values, where the task is regression"
            )
    return tuple(images)
