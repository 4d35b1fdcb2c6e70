"""What `train` is to train: out of what a user chose, a recipe, and the run that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_adapt.methods.distil import Distil
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.recipes import ChosenRecipe

OF_THE_START = ("backbone", "image_size", "part", "grayscale", "centred", "augment")
"""Settings that a run takes over from the one that it starts from."""


def plan_training(
    chosen: Mapping[str, Any], recipe: str | None = None, weights: Checkpoint | None = None
) -> TrainingConfig | ChosenRecipe:
    """What a run is to train.

    Args:
        chosen: the settings that the user chose, those of a method and its name among them; all others have their defaults.
        recipe: a name of `RECIPES`.
        weights: the end of the run that it starts from.

    Raises:
        EdgeAdaptError: a setting that cannot be, or that is of no use.
    """
    if recipe:
        overrides = {name: value for name, value in chosen.items() if name != "minutes"}
        return ChosenRecipe(recipe, overrides, chosen.get("minutes"))
    taken_over = {name: getattr(weights.config, name) for name in OF_THE_START} if weights else {}
    config = TrainingConfig.of(**{**taken_over, **chosen})
    _require_a_use(config, chosen)
    return config


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
