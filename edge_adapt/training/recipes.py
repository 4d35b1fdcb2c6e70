"""Recipes: training in stages, each of which starts from what the one before it learned. A recipe is data.

RUN/recipe.json      the stages with all their settings
RUN/1-classify/      a run of its own for each stage; see `edge_adapt.training.run`
RUN/2-distil/
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from edge_adapt.methods import METHODS
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.progress import say
from edge_adapt.training import distributed
from edge_adapt.training.autotune import Device
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import Checkpoint, load_checkpoint
from edge_adapt.training.teacher import digest_of_teacher
from edge_adapt.training.train import (
    differences,
    is_finished,
    require_data,
    require_same_teacher,
    require_same_validation,
    train,
)
from edge_adapt.training.validation import digest_of_classes


@dataclass(frozen=True)
class Stage:
    """One training run of a recipe.

    Attributes:
        name: what its folder is called.
        distil: start anew, with what the stage before learned, or another run, as the teacher.
        share: its part of a budget in minutes; the shares of a recipe add up to 1.
        settings: fields of `TrainingConfig`, its own budget in iterations among them.
    """

    name: str
    share: float
    settings: Mapping[str, Any]
    distil: bool = False


@dataclass(frozen=True)
class Recipe:
    """A staged plan.

    Attributes:
        summary: what it is and where it comes from.
        settings: fields of `TrainingConfig` that all stages share.
        stages: in order.
    """

    summary: str
    settings: Mapping[str, Any]
    stages: tuple[Stage, ...] = field(default=())

    def taught(self) -> Recipe:
        """The plan where a teacher is there already: without the stages that would make one, and with one that distils it."""
        first = next((number for number, stage in enumerate(self.stages) if stage.distil), 0)
        student, *others = self.stages[first:]
        left = student.share + sum(stage.share for stage in others)
        stages = (replace(student, distil=True), *others)
        return replace(self, stages=tuple(replace(stage, share=stage.share / left) for stage in stages))

    def configurations(
        self,
        overrides: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        data: ImageDataset | None = None,
    ) -> dict[str, TrainingConfig]:
        """The configuration of each stage, by the name of its folder.

        Args:
            overrides: settings of the user's own, for every stage; a crop size for those that crop.
            minutes: a budget for all of it, in place of the iterations of each stage.
            data: the training classes. Episodes of the recipe's own that they do not suffice for become smaller.

        Raises:
            EdgeAdaptError: a setting that cannot be, or patience where no stage keeps its best state.
        """
        stages = {}
        methods = [{**self.settings, **stage.settings}.get("method", TrainingConfig.method) for stage in self.stages]
        if (overrides or {}).get("patience") and not any(METHODS[method].keeps_best for method in methods):
            raise EdgeAdaptError("patience is for stages of episodes, and this recipe has none; leave it out.")
        for number, stage in enumerate(self.stages, start=1):
            budget = {} if minutes is None else {"iterations": None, "minutes": minutes * stage.share}
            own = dict(overrides or {})
            if "crop_size" not in stage.settings:  # whole images, where the recipe does not crop to a size of its own
                own = {name: value for name, value in own.items() if name not in ("crop_size", "first_crop_size")}
            settings = {**self.settings, **stage.settings, **budget, **own}
            if not METHODS[settings.get("method", TrainingConfig.method)].keeps_best:
                settings.pop("patience", None)
            if stage.distil:
                # Or the student would begin as its teacher began, and see the same images in the same order.
                settings["seed"] = settings.get("seed", 0) + 1
            config = TrainingConfig(**settings)
            stages[f"{number}-{stage.name}"] = _fitted(config, data, overrides or {}) if data else config
        return stages

    def describe(
        self,
        name: str,
        overrides: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        data: ImageDataset | None = None,
    ) -> dict[str, Any]:
        """The recipe as plain data, as RUN/recipe.json holds it: every setting of every stage that is not its default."""
        default = asdict(TrainingConfig())
        stages = {
            name: {key: value for key, value in asdict(config).items() if value != default[key] or key == "method"}
            | ({"distil": True} if stage.distil else {})
            for stage, (name, config) in zip(
                self.stages, self.configurations(overrides, minutes, data).items(), strict=True
            )
        }
        own = {"minutes": minutes, "overrides": dict(overrides or {})}
        return {"recipe": name, "summary": self.summary, **own, "stages": stages}


def _fitted(config: TrainingConfig, data: ImageDataset, own: Mapping[str, Any]) -> TrainingConfig:
    """With episodes of no more classes and images than there are; what is the user's own stays."""
    if METHODS[config.method].require:  # takes no episodes of this kind
        return config
    images = int(data.counts.min())
    n_shot = config.n_shot if "n_shot" in own else max(1, min(config.n_shot, images // 2))
    fitted: dict[str, Any] = {
        "n_way": max(2, min(config.n_way, len(data.class_names))),
        "n_shot": n_shot,
        "n_query": max(1, min(config.n_query, images - n_shot)),
    }
    return replace(config, **{name: value for name, value in fitted.items() if name not in own})


_CLASSIFY = {"method": "classify", "batch_size": 128, "learning_rate": 0.2, "crop_size": 64}

_EPISODES = {"method": "anil", "n_way": 20, "n_shot": 10, "n_query": 5, "meta_batch": 2, "learning_rate": 1e-4}
"""With 5 shots `edge` was 0.2 points worse on mini-ImageNet's validation classes, and half a point on GroceryStore."""

_HEAD = Stage("head", 0.01, {"method": "head", "steps": 20, "meta_batch": 4, "learning_rate": 0.1, "iterations": 300})
"""The head's few numbers for all numbers of shots and ways, on the features as they are at last."""


_SETTINGS = {"image_size": 84, "centred": True, "augment": True, "n_way": 5, "n_shot": 1, "n_query": 15}


def _edge(iterations: int) -> Recipe:
    """`iterations` of classification, as many of distillation, then a tenth of that time in episodes and for the head."""
    return Recipe(
        summary=(
            "Classify the training classes with a cosine classifier, have a second network learn from the answers of the first "
            "(Tian et al., ECCV 2020, https://arxiv.org/abs/2003.11539), meta-train that episodically (Chen et al., "
            "Meta-Baseline, ICCV 2021, https://arxiv.org/abs/2003.04390; Ye and Chao, UNICORN-MAML, ICLR 2022, "
            "https://arxiv.org/abs/2106.16245), and last the head's scale and rates alone."
        ),
        settings={"backbone": "edge", **_SETTINGS},
        stages=(
            Stage("classify", 0.4, {**_CLASSIFY, "iterations": iterations}),
            Stage("distil", 0.5, {**_CLASSIFY, "iterations": iterations}, distil=True),
            Stage("episodes", 0.09, {**_EPISODES, "iterations": 300}),
            _HEAD,
        ),
    )


def _conv4(iterations: int) -> Recipe:
    """Without episodes, which cost conv4 a point on mini-ImageNet's validation classes."""
    return Recipe(
        summary=(
            "Classify the training classes with a cosine classifier (Chen et al., A closer look, ICLR 2019, "
            "https://arxiv.org/abs/1904.04232), and then meta-train the head's scale and rates."
        ),
        settings={"backbone": "conv4", **_SETTINGS},
        stages=(Stage("classify", 0.99, {**_CLASSIFY, "iterations": iterations}), _HEAD),
    )


_PHOTOS = Recipe(
    summary=(
        "EfficientNet-Lite0 with its published ImageNet weights (Tan and Le, https://arxiv.org/abs/1905.11946), which stay as "
        "they are, and a head that is meta-trained on its features: pre-train, meta-train, adapt (Hu et al., P>M>F, CVPR 2022, "
        "https://arxiv.org/abs/2204.07305)."
    ),
    settings={
        "backbone": "lite0",
        "pretrained": True,
        "image_size": 192,
        "part": 0.875,
        "n_way": 5,
        "n_shot": 1,
        "n_query": 15,
    },
    stages=(replace(_HEAD, share=1.0),),
)

RECIPES: dict[str, Recipe] = {"photos": _PHOTOS, "edge": _edge(18_000), "conv4": _conv4(12_000)}
"""By the name that `--recipe` takes. `photos` makes the model of that name; the others train from nothing, on some ten thousand
images, as the literature does."""


def find_recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        EdgeAdaptError: there is none.
    """
    if name not in RECIPES:
        raise EdgeAdaptError(f"{name!r} is not a recipe; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]


@distributed.joined()
def train_recipe(
    data: ImageDataset,
    run: str | os.PathLike[str],
    recipe: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    validation: ImageDataset | None = None,
    backbone: nn.Module | None = None,
    teacher: Checkpoint | None = None,
    device: Device = "auto",
    resume: bool = False,
    bf16: bool | None = None,
    cache: str | os.PathLike[str] | None = None,
    trained_on: str = "",
    progress: bool = False,
) -> Checkpoint:
    """Take the stages of a recipe one after the other, and leave them in the folder `run`.

    Args:
        data, validation, backbone, device, bf16, cache, trained_on, progress: as of `edge_adapt.training.train.train`.
        run: the folder to write.
        recipe: a name of `RECIPES`.
        overrides: settings of the user's own, for every stage; patience for those stages that keep their best state.
        minutes: a budget for all of it, in place of the iterations of each stage.
        teacher: what to distil, in place of a first stage of the recipe's own; needed again to resume.
        resume: pass over the stages that are finished, and go on with the one that is not.

    Returns:
        The end of the last stage.

    Episodes that the training classes do not suffice for become smaller; recipe.json has them as they are taken.

    Raises:
        DataError: the classes or images do not suffice for a stage; before anything is trained.
        EdgeAdaptError: as `train`, or `run` holds a recipe with other settings.
    """
    plan = find_recipe(recipe).taught() if teacher else find_recipe(recipe)
    folder = Path(run)
    described = plan.describe(recipe, overrides, minutes, data)
    if teacher:
        described["teacher"] = digest_of_teacher(teacher)
    configurations = plan.configurations(overrides, minutes, data)
    for config in configurations.values():
        require_data(config, data, validation)
    distributed.of_first(lambda: _claim(folder, described, resume))
    for name, config in plan.configurations(overrides, minutes).items():
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
        reached = train(
            data,
            folder / name,
            config,
            validation=validation,
            backbone=backbone,
            device=device,
            initial=None if stage.distil else reached,
            teacher=teacher or reached if stage.distil else None,
            resume=resume,
            bf16=bf16,
            cache=cache,
            trained_on=trained_on,
            progress=progress,
        )
    assert reached is not None  # a recipe has a stage
    return reached


def _checkpoint_in(stage: Path) -> Checkpoint | None:
    return load_checkpoint(stage) if (stage / "checkpoint.pt").exists() else None


@dataclass(frozen=True)
class SavedRecipe:
    """What a run was started with: arguments of `train_recipe`."""

    name: str
    overrides: Mapping[str, Any]
    minutes: float | None


def saved_recipe(run: str | os.PathLike[str]) -> SavedRecipe | None:
    """What recipe.json of a run says; None where there is none.

    Raises:
        EdgeAdaptError: it is damaged.
    """
    path = Path(run) / "recipe.json"
    if not path.exists():
        return None
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return SavedRecipe(saved["recipe"], saved["overrides"], saved["minutes"])
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
