"""What `train` is to train: out of what a user chose, a recipe, the run that it starts from, and what the run's folder holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_adapt.methods.distil import Distil
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.recipes import ChosenRecipe, find_recipe
from edge_adapt.training.stages import saved_recipe

OF_THE_START = ("backbone", "image_size", "part", "grayscale", "centred", "augment")
"""Settings that a run takes over from the one that it starts from."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes:
        what: a configuration, or a recipe.
        first: the configuration, or that of the recipe's first stage: it says how images are read.
        previous: where an earlier stretch stopped.
    """

    what: TrainingConfig | ChosenRecipe
    first: TrainingConfig
    previous: Checkpoint | None = None


def plan_training(
    run: str | os.PathLike[str],
    chosen: Mapping[str, Any],
    recipe: str | None = None,
    resume: bool = False,
    weights: Checkpoint | None = None,
) -> Plan:
    """What a run is to train.

    Args:
        run: its folder.
        chosen: the settings that the user chose, those of a method and its name among them; all others have their defaults.
        recipe: a name of `RECIPES`.
        resume: go on with what `run` holds, under what was chosen now.
        weights: the end of the run that it starts from.

    Raises:
        EdgeAdaptError: a setting that cannot be, or that is of no use.
    """
    minutes = chosen.get("minutes")
    overrides = {name: value for name, value in chosen.items() if name != "minutes"}
    saved = saved_recipe(run) if resume and Path(run).is_dir() else None
    if saved and recipe in (None, saved.name):
        return _of_recipe(run, ChosenRecipe(saved.name, {**saved.overrides, **overrides}, minutes or saved.minutes))
    if recipe:
        return _of_recipe(run, ChosenRecipe(recipe, overrides, minutes))
    previous = load_checkpoint(run) if resume and (Path(run) / "checkpoint.pt").exists() else None
    if previous:
        config = _resumed(run, previous.config, chosen)
    else:
        start = weights.config if weights else None
        taken_over = {name: getattr(start, name) for name in OF_THE_START} if start else {}
        config = TrainingConfig.of(**{**taken_over, **chosen})
    _require_a_use(config, chosen)
    return Plan(config, config, previous)


def _resumed(run: str | os.PathLike[str], saved: TrainingConfig, chosen: Mapping[str, Any]) -> TrainingConfig:
    """The settings saved with a run under what was chosen now; `train` compares the two."""
    changes = dict(chosen)
    method = changes.pop("method", saved.method.name)
    if method != saved.method.name:
        raise EdgeAdaptError(
            f"{run} was trained with the method {saved.method.name}, and this is {method}; resume with the same, or write to "
            "another folder."
        )
    if changes.keys() & {"iterations", "minutes"}:
        changes = {"iterations": None, "minutes": None, **changes}
    return saved.changed(**changes)


def _require_a_use(config: TrainingConfig, chosen: Mapping[str, Any]) -> None:
    """Raise for an option about outer steps of the other kind, or about crops where there are none."""
    method = config.method
    useless = {"meta_batch"} if method.of_images else {"batch_size"}
    if method.leaves_backbone:
        useless |= {"crop_size", "first_crop_size"}
    for name in sorted(chosen.keys() & useless):
        raise EdgeAdaptError(f"{name} is not for the method {method.name}; leave it out.")
    if "crop_size" in chosen and (config.grayscale or not config.augment):
        raise EdgeAdaptError("crop_size is of crops of RGB images with --augment, and there are none; leave it out.")
    if "teacher_crops" in chosen and isinstance(method, Distil) and not config.augment:
        raise EdgeAdaptError("teacher_crops is of crops with --augment, and there are none; leave it out.")


def _of_recipe(run: str | os.PathLike[str], recipe: ChosenRecipe) -> Plan:
    first = next(iter(find_recipe(recipe.name).configurations(recipe.overrides, recipe.minutes).values()))
    previous = load_checkpoint(run) if any(Path(run).glob("*/checkpoint.pt")) else None
    return Plan(recipe, first, previous)
