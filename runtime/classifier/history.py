"""What became of a support set: the edits that led to it, and back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timezone

from edge_adapt.runtime.bundle.history_json import MAX_EDITS, Edit, History, SupportImage
from edge_adapt.runtime.classifier.support import SupportSet
from edge_adapt.runtime.errors import DataError


def recorded(history: History, what: str, before: SupportSet, after: SupportSet) -> History:
    """The history with one more edit; what was undone before it is forgotten."""
    edit = Edit(what, _now(), _missing(before, after), _missing(after, before))
    if not edit.lost and not edit.gained:
        raise DataError(f"{what}: that would change nothing.")
    edits = (*history.edits[: history.done], edit)[-MAX_EDITS:]
    return History(edits, len(edits))


def undone(history: History, support: SupportSet) -> tuple[History, SupportSet]:
    """One edit back. Raises DataError where there is none."""
    if not history.done:
        raise DataError("there is no edit to undo.")
    edit = history.edits[history.done - 1]
    return replace(history, done=history.done - 1), _changed(support, edit.gained, edit.lost)


def redone(history: History, support: SupportSet) -> tuple[History, SupportSet]:
    """The edit that was undone last, again. Raises DataError where there is none."""
    if history.done == len(history.edits):
        raise DataError("there is no undone edit to do again.")
    edit = history.edits[history.done]
    return replace(history, done=history.done + 1), _changed(support, edit.lost, edit.gained)


def _missing(of: SupportSet, than: SupportSet) -> tuple[SupportImage, ...]:
    """The images of one support set that another has not, equal ones counted."""
    left = Counter(map(_identity, than.images))
    missing = []
    for image in of.images:
        if left[_identity(image)]:
            left[_identity(image)] -= 1
        else:
            missing.append(image)
    return tuple(missing)


def _changed(support: SupportSet, lost: tuple[SupportImage, ...], gained: tuple[SupportImage, ...]) -> SupportSet:
    going = SupportSet(lost)
    return SupportSet.of((*_missing(support, going), *gained))


def _identity(image: SupportImage) -> tuple[str, tuple[float, ...], str, str, bytes]:
    return image.label, image.values, image.sha256, image.name, image.features.tobytes()


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
