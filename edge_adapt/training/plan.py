"""What `train` is to train: out of its options, a recipe, and what the run's folder holds."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_adapt.runtime.errors import EdgeAdaptError

if TYPE_CHECKING:
    from edge_adapt.runtime.data.dataset import ImageDataset
    from edge_adapt.training.config import TrainingConfig
    from edge_adapt.training.run import Checkpoint

DEFAULT_MINUTES = 30.0
"""The budget of a run that is given none: on two cores enough for good results with conv4 on small images."""

N_QUERY = 5

HEAD_ALONE = {"learning_rate": 0.1, "centred": True}
"""Defaults of --method head, which differ from those of other methods."""

HEAD_ALONE_ITERATIONS = 200

OF_THE_START = ("backbone", "image_size", "part", "grayscale", "centred", "augment")
"""Settings that a run takes over from the one that it starts from."""


@dataclass
class Plan:
    """What is to be trained.

    Attributes:
        config: of the only stage, or of the first: it says how images are read.
        previous: where an earlier stretch stopped.
        n_query_is_free: whether the number of queries may follow the data.
        recipe, overrides, minutes: see `edge_adapt.training.recipes.train_recipe`; `recipe` is None for a single stage.
    """

    config: TrainingConfig
    previous: Checkpoint | None
    n_query_is_free: bool
    recipe: str | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None

    def train(self, data: ImageDataset, run: str, **arguments: Any) -> Checkpoint:
        """Train it, all stages."""
        from edge_adapt.training.recipes import train_recipe
        from edge_adapt.training.train import train

        if self.recipe is None:
            return train(data, run, self.config, **arguments)
        return train_recipe(data, run, self.recipe, overrides=self.overrides, minutes=self.minutes, **arguments)


def plan_training(
    run: str,
    recipe: str | None,
    resume: bool,
    settings: Mapping[str, Any],
    chosen: Set[str],
    initial: Checkpoint | None = None,
) -> Plan:
    """One stage, or a recipe; with `resume`, what RUN holds under what was chosen now."""
    from edge_adapt.training.recipes import find_recipe, saved_recipe
    from edge_adapt.training.run import load_checkpoint

    if resume and Path(run).is_dir():
        saved = saved_recipe(run)
        if saved and recipe in (None, saved.name):
            overrides = {**saved.overrides, **overrides_of(settings, chosen)}
            minutes = settings["minutes"] or saved.minutes
            return _recipe_plan(run, saved.name, overrides, minutes)
    if recipe:
        find_recipe(recipe)
        return _recipe_plan(run, recipe, overrides_of(settings, chosen), settings["minutes"])
    previous = load_checkpoint(run) if resume and (Path(run) / "checkpoint.pt").exists() else None
    if previous and "method" in chosen and settings["method"] != previous.config.method:
        raise EdgeAdaptError(
            f"{run} was trained with the method {previous.config.method}, and this is {settings['method']}; resume with the "
            "same, or write to another folder."
        )
    config = _configuration(
        settings, chosen, previous.config if previous else None, initial.config if initial else None
    )
    _require_a_use(config, chosen)
    return Plan(config, previous, n_query_is_free=not previous and "n_query" not in chosen)


def _require_a_use(config: TrainingConfig, chosen: Set[str]) -> None:
    """Raise for an option about outer steps of the other kind, or about crops where there are none."""
    without_a_use = {
        "classify": {"meta_batch"},
        "distil": {"meta_batch"},
        "head": {"batch_size", "crop_size", "first_crop_size"},
    }
    for name in sorted(chosen & without_a_use.get(config.method, {"batch_size"})):
        raise EdgeAdaptError(f"{name} is not for the method {config.method}; leave it out.")
    if "crop_size" in chosen and (config.grayscale or not config.augment):
        raise EdgeAdaptError("crop_size is of crops of RGB images with --augment, and there are none; leave it out.")
    if "teacher_crops" in chosen and not config.augment:
        raise EdgeAdaptError("teacher_crops is of crops with --augment, and there are none; leave it out.")


def _recipe_plan(run: str, recipe: str, overrides: Mapping[str, Any], minutes: float | None) -> Plan:
    from edge_adapt.training.recipes import find_recipe
    from edge_adapt.training.run import load_checkpoint

    first = next(iter(find_recipe(recipe).configurations(overrides, minutes).values()))
    previous = load_checkpoint(run) if any(Path(run).glob("*/checkpoint.pt")) else None
    return Plan(first, previous, False, recipe, overrides, minutes)


def overrides_of(settings: Mapping[str, Any], chosen: Set[str]) -> dict[str, Any]:
    """What was chosen now for every stage of a recipe."""
    return {name: settings[name] for name in chosen - {"minutes"}}


def _configuration(
    settings: Mapping[str, Any], chosen: Set[str], saved: TrainingConfig | None, initial: TrainingConfig | None
) -> TrainingConfig:
    """The settings of a new run, or those saved with a run to resume under what was chosen now; `train` compares the two."""
    from edge_adapt.training.config import TrainingConfig

    if saved:
        values = asdict(saved)
        if chosen & {"iterations", "minutes"}:
            values |= {"iterations": None, "minutes": None}
        return TrainingConfig(**(values | {name: settings[name] for name in chosen}))
    values = {**settings, "n_query": settings["n_query"] or N_QUERY}
    if settings["method"] == "head":
        values |= {name: value for name, value in HEAD_ALONE.items() if name not in chosen}
    if initial:
        values |= {name: getattr(initial, name) for name in OF_THE_START if name not in chosen}
    if not settings["minutes"] and not settings["iterations"]:
        values |= (
            {"iterations": HEAD_ALONE_ITERATIONS} if settings["method"] == "head" else {"minutes": DEFAULT_MINUTES}
        )
    return TrainingConfig(**values)
