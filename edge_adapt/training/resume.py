"""Going on with a run: whether what it is given now is what it was given then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edge_adapt.methods.maml import SecondOrder
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.config import TrainingConfig, differences


def previous_stretch(
    run: Path, config: TrainingConfig, resume: bool, provenance: Mapping[str, str]
) -> Checkpoint | None:
    """The checkpoint to go on from, if there is one and that was asked for."""
    if (run / "recipe.json").exists():
        raise EdgeAdaptError(
            f"{run} holds the stages of a recipe; go on with them by --resume, or write to another folder."
        )
    if not (run / "checkpoint.pt").exists():
        return None
    if not resume:
        raise EdgeAdaptError(f"{run} holds a run already; go on with --resume or write to another folder.")
    previous = load_checkpoint(run)
    if not same_but_for_memory(previous.config, config):
        raise EdgeAdaptError(
            f"{run} was trained with other settings ({differences(previous.config, config)}); resume with the same, or write to "
            "another folder."
        )
    then = {**provenance, **previous.provenance}  # a run of an earlier edge-adapt noted nothing
    require_same_teacher(run, then["teacher"], provenance["teacher"])
    if provenance["initial"] and then["initial"] != provenance["initial"]:
        raise EdgeAdaptError(f"{run} did not start from these weights; resume without --start-from.")
    require_same_validation(run, previous, provenance["validation"])
    return previous


def require_same_teacher(run: Path, then: str, given: str) -> None:
    """Raise where a run was trained with another teacher than that of this digest, empty for none."""
    if then != given:
        raise EdgeAdaptError(
            f"{run} was trained with a teacher, and this is {'another' if given else 'none'}; resume with the same --teacher."
            if then
            else f"{run} was trained without a teacher; resume without --teacher."
        )


def require_same_validation(run: Path, previous: Checkpoint, digest: str) -> None:
    """Raise where a run was measured on other validation classes than those of this digest, empty for none."""
    if previous.validated_on and (not digest or previous.provenance.get("validation", digest) != digest):
        raise EdgeAdaptError(
            f"{run} was measured on {'other ' if digest else ''}validation classes ({previous.validated_on}), by which its best "
            "state is chosen; resume with the same --val-classes."
        )


def same_but_for_memory(then: TrainingConfig, now: TrainingConfig) -> bool:
    """Whether two configurations learn the same: all but `recompute` is."""
    if isinstance(then.method, SecondOrder) and isinstance(now.method, SecondOrder):
        then = replace(then, method=replace(then.method, recompute=now.method.recompute))
    return then == now
