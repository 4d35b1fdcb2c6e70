"""The stages of a recipe, one after the other.

RUN/recipe.json      the stages with all their settings
RUN/1-pretrain/      a run of its own for each stage; see `edge_adapt.training.run`
RUN/2-distil/
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.progress import say
from edge_adapt.training import distributed
from edge_adapt.training.budget import is_finished
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.config import differences
from edge_adapt.training.origin import Given, Origin
from edge_adapt.training.recipes import ChosenRecipe, find_recipe
from edge_adapt.training.resume import require_same_data, require_same_teacher
from edge_adapt.training.stage import require_data, train_stage
from edge_adapt.training.teacher import digest_of_teacher
from edge_adapt.training.validation import digest_of_classes


def train_stages(given: Given, folder: Path, chosen: ChosenRecipe, resumed: bool) -> Checkpoint:
    """All stages of a recipe; see `edge_adapt.train`. recipe.json has episodes as they are taken."""
    data, validation, start, compute, _ = given
    teacher, recipe = start.taught, find_recipe(chosen.name)
    plan = recipe.taught() if teacher else recipe
    if start.weights or compute.micro_batch:
        raise EdgeAdaptError("weights to start from and a micro-batch are for one stage, and a recipe has several.")
    described = plan.describe(chosen.name, chosen.overrides, chosen.minutes, data)
    if teacher:
        described["teacher"] = digest_of_teacher(teacher)
    configurations = plan.configurations(chosen.overrides, chosen.minutes, data)
    for config in configurations.values():
        require_data(config, data, validation)
    distributed.of_first(lambda: _require_same_plan(folder, described) if resumed else _note(folder, described, given))
    for name, config in plan.configurations(chosen.overrides, chosen.minutes).items():
        if configurations[name] != config:
            changed = differences(configurations[name], config)
            say(f"{name}: {changed}, for there are no more classes and images", distributed.is_first())
    reached: Checkpoint | None = None
    for stage, (name, config) in zip(plan.stages, configurations.items(), strict=True):
        previous = distributed.of_first(functools.partial(_checkpoint_in, folder / name))
        if previous and is_finished(previous):
            require_same_data(folder / name, previous, data, digest_of_classes(validation))
            reached = previous
            continue
        own = (
            replace(start, teacher=teacher or reached)
            if stage.distil
            else replace(start, weights=reached, teacher=None)
        )
        reached = train_stage(given._replace(start=own), folder / name, config, resumed=True)
    assert reached is not None  # a recipe has a stage
    return reached


def _checkpoint_in(stage: Path) -> Checkpoint | None:
    return load_checkpoint(stage) if (stage / "checkpoint.pt").exists() else None


def saved_recipe(run: str | os.PathLike[str]) -> ChosenRecipe | None:
    """What recipe.json of a run says; None where there is none.

    Raises:
        EdgeAdaptError: it is damaged.
    """
    path = Path(run) / "recipe.json"
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return ChosenRecipe(saved["recipe"], saved["overrides"], saved["minutes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EdgeAdaptError(f"{path} is damaged ({error}); write to another folder.") from error


def _note(run: Path, described: Mapping[str, Any], given: Given) -> None:
    """Write what it is given and recipe.json."""
    Origin.of(given).save(run)
    write_atomically(run / "recipe.json", lambda stream: stream.write(_text(described)))


def _require_same_plan(run: Path, described: Mapping[str, Any]) -> None:
    """Raise where what recipe.json says is no longer what its recipe makes of the settings in it, the data and the teacher."""
    written = (run / "recipe.json").read_bytes()
    require_same_teacher(run, json.loads(written).get("teacher", ""), described.get("teacher", ""))
    if written != _text(described):
        raise EdgeAdaptError(
            f"{run}: the recipe or the data have changed since it began (see recipe.json), or this is another edge-adapt; bring "
            "back what it was, or write to another folder."
        )


def _text(described: Mapping[str, Any]) -> bytes:
    return (json.dumps(described, indent=2) + "\n").encode()
