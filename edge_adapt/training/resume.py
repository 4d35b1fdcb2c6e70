"""Going on with a run: whether what it is given now is what it was given then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.validation import digest_of_classes


def previous_stretch(run: Path, data: ImageDataset, provenance: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one."""
    if not (run / "checkpoint.pt").exists():
        return None
    previous = load_checkpoint(run)
    require_same_data(run, previous, data, provenance["validation"])
    require_same_teacher(run, previous.provenance["teacher"], provenance["teacher"])
    return previous


def require_same_data(run: Path, previous: Checkpoint, data: ImageDataset, validation: str) -> None:
    """Raise where a run was trained on other images, or measured on others than those of this digest, empty for none."""
    if previous.provenance["data"] != digest_of_classes(data):
        raise DataError(
            f"{run} was trained on other data than {data.source} has now ({previous.trained_on or 'without a name'}); bring back "
            "those, or train to another folder."
        )
    if previous.validated_on and previous.provenance["validation"] != validation:
        raise EdgeAdaptError(
            f"{run} was measured on {'other ' if validation else ''}validation classes ({previous.validated_on}), by which its "
            "best state is chosen; resume with the same."
        )


def require_same_teacher(run: Path, then: str, given: str) -> None:
    """Raise where a run was trained with another teacher than that of this digest, empty for none."""
    if then != given:
        raise EdgeAdaptError(
            f"{run} was trained with a teacher, and this is {'another' if given else 'none'}; resume with the same."
            if then
            else f"{run} was trained without a teacher; resume without one."
        )
