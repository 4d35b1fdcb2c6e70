"""The stages of a recipe, one after the other.

RUN/recipe.json      the stages with all their settings
RUN/1-pretrain/      a run of its own for each stage; see `edge_adapt.training.run`
RUN/2-distil/
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.progress import say
from edge_adapt.training import distributed
from edge_adapt.training.budget import is_finished
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.compute import Compute
from edge_adapt.training.config import differences
from edge_adapt.training.recipes import ChosenRecipe, find_recipe
from edge_adapt.training.resume import require_same_teacher, require_same_validation
from edge_adapt.training.stage import require_data, train_stage
from edge_adapt.training.start import Reading, Start
from edge_adapt.training.teacher import digest_of_teacher
from edge_adapt.training.validation import digest_of_classes


def train_stages(
    data: ImageDataset,
    run: str | os.PathLike[str],
    chosen: ChosenRecipe,
    validation: ImageDataset | None,
    start: Start,
    compute: Compute,
    reading: Reading,
) -> Checkpoint:
    """All stages of a recipe; see `edge_adapt.train`, whose arguments these are. recipe.json has episodes as they are taken."""
    teacher, recipe = start.taught, find_recipe(chosen.name)
    plan = recipe.taught() if teacher else recipe
    folder = Path(run)
    if start.weights or compute.micro_batch:
        raise EdgeAdaptError("weights to start from and a micro-batch are for one stage, and a recipe has several.")
    described = plan.describe(chosen.name, chosen.overrides, chosen.minutes, data)
    if teacher:
        described["teacher"] = digest_of_teacher(teacher)
    configurations = plan.configurations(chosen.overrides, chosen.minutes, data)
    for config in configurations.values():
        require_data(config, data, validation)
    distributed.of_first(lambda: _claim(folder, described, start.resume))
    for name, config in plan.configurations(chosen.overrides, chosen.minutes).items():
        if configurations[name] != config:
            changed = differences(configurations[name], config)
            say(f"{name}: {changed}, for there are no more classes and images", distributed.is_first())
    reached: Checkpoint | None = None
    for stage, (name, config) in zip(plan.stages, configurations.items(), strict=True):
        previous = distributed.of_first(functools.partial(_checkpoint_in, folder / name))
        if previous and is_finished(previous):
            require_same_validation(folder / name, previous, digest_of_classes(validation))
            reached = previous
            continue
        own = (
            replace(start, teacher=teacher or reached)
            if stage.distil
            else replace(start, weights=reached, teacher=None)
        )
        reached = train_stage(data, folder / name, config, validation, own, compute, reading)
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


def _claim(run: Path, described: Mapping[str, Any], resume: bool) -> None:
    """Write recipe.json, or see that it is the same."""
    if (run / "checkpoint.pt").exists():
        raise EdgeAdaptError(f"{run} holds a run already, and not a recipe's; write to another folder.")
    path = run / "recipe.json"
    text = json.dumps(described, indent=2) + "\n"
    if path.exists():
        if not resume:
            raise EdgeAdaptError(f"{run} holds a run already; go on with --resume or write to another folder.")
        written = path.read_text(encoding="utf-8")
        with contextlib.suppress(ValueError):  # a damaged file is one of other settings
            require_same_teacher(run, json.loads(written).get("teacher", ""), described.get("teacher", ""))
        if written != text:
            raise EdgeAdaptError(
                f"{run} was trained by another recipe or with other settings (see recipe.json); resume with the same, or write "
                "to another folder."
            )
    run.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda stream: stream.write(text.encode()))
