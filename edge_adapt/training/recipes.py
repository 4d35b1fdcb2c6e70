"""Recipes: training in stages, each of which starts from what the one before it learned. A recipe is data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.config import TrainingConfig


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
        purpose: what it is for, and how long it takes.
    """

    summary: str
    settings: Mapping[str, Any]
    stages: tuple[Stage, ...] = field(default=())
    purpose: str = ""

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
        if (overrides or {}).get("patience") and not any(self._keeps_best(stage) for stage in self.stages):
            raise EdgeAdaptError("patience is for stages of episodes, and this recipe has none; leave it out.")
        for number, stage in enumerate(self.stages, start=1):
            budget = {} if minutes is None else {"iterations": None, "minutes": minutes * stage.share}
            own = dict(overrides or {})
            if "crop_size" not in stage.settings:  # whole images, where the recipe does not crop to a size of its own
                own = {name: value for name, value in own.items() if name not in ("crop_size", "first_crop_size")}
            settings = {**self.settings, **stage.settings, **budget, **own}
            if not self._keeps_best(stage):
                settings.pop("patience", None)
            if stage.distil:
                # Or the student would begin as its teacher began, and see the same images in the same order.
                settings["seed"] = settings.get("seed", 0) + 1
            config = TrainingConfig.of(**settings)
            stages[f"{number}-{stage.name}"] = _fitted(config, data, overrides or {}) if data else config
        return stages

    def _keeps_best(self, stage: Stage) -> bool:
        return TrainingConfig.of(**{**self.settings, **stage.settings}).method.keeps_best

    def describe(
        self,
        name: str,
        overrides: Mapping[str, Any] | None = None,
        minutes: float | None = None,
        data: ImageDataset | None = None,
    ) -> dict[str, Any]:
        """The recipe as plain data, as RUN/recipe.json holds it: every setting of every stage that is not its default."""
        default = TrainingConfig().to_dict()
        stages = {
            name: {key: value for key, value in config.to_dict().items() if value != default[key] or key == "method"}
            | ({"distil": True} if stage.distil else {})
            for stage, (name, config) in zip(
                self.stages, self.configurations(overrides, minutes, data).items(), strict=True
            )
        }
        own = {"minutes": minutes, "overrides": dict(overrides or {})}
        return {"recipe": name, "summary": self.summary, **own, "stages": stages}


def _fitted(config: TrainingConfig, data: ImageDataset, own: Mapping[str, Any]) -> TrainingConfig:
    """With episodes of no more classes and images than there are; what is the user's own stays."""
    if config.method.of_images or config.method.leaves_backbone:  # takes no episodes of this kind
        return config
    images = int(data.counts.min())
    n_shot = config.n_shot if "n_shot" in own else max(1, min(config.n_shot, images // 2))
    fitted: dict[str, Any] = {
        "n_way": max(2, min(config.episodes.n_way, len(data.class_names))),
        "n_shot": n_shot,
        "n_query": max(1, min(config.episodes.n_query, images - n_shot)),
    }
    return replace(config, **{name: value for name, value in fitted.items() if name not in own})


_PRETRAIN = {"method": "pretrain", "batch_size": 128, "learning_rate": 0.2, "crop_size": 64}

_EPISODES = {"method": "anil", "n_way": 20, "n_shot": 10, "n_query": 5, "meta_batch": 2, "learning_rate": 1e-4}
"""With 5 shots `edge` was 0.2 points worse on mini-ImageNet's validation classes, and half a point on GroceryStore."""

_HEAD = Stage(
    "head", 0.01, {"method": "head-only", "steps": 20, "meta_batch": 4, "learning_rate": 0.1, "iterations": 300}
)
"""The head's few numbers for all numbers of shots and ways, on the features as they are at last."""


_SETTINGS = {"image_size": 84, "centred": True, "augment": True, "n_way": 5, "n_shot": 1, "n_query": 15}


def _edge(iterations: int) -> Recipe:
    """`iterations` of classification, as many of distillation, then a tenth of that time in episodes and for the head."""
    return Recipe(
        purpose="For photos and other images, ten thousand or more, from nothing: some three hours on one core.",
        summary=(
            "Classify the training classes with a cosine classifier, have a second network learn from the answers of the first "
            "(Tian et al., ECCV 2020, https://arxiv.org/abs/2003.11539), meta-train that episodically (Chen et al., "
            "Meta-Baseline, ICCV 2021, https://arxiv.org/abs/2003.04390; Ye and Chao, UNICORN-MAML, ICLR 2022, "
            "https://arxiv.org/abs/2106.16245), and last the head's scale and rates alone."
        ),
        settings={"backbone": "edge", **_SETTINGS},
        stages=(
            Stage("pretrain", 0.4, {**_PRETRAIN, "iterations": iterations}),
            Stage("distil", 0.5, {**_PRETRAIN, "iterations": iterations}, distil=True),
            Stage("episodes", 0.09, {**_EPISODES, "iterations": 300}),
            _HEAD,
        ),
    )


def _conv4(iterations: int) -> Recipe:
    """Without episodes, which cost conv4 a point on mini-ImageNet's validation classes."""
    return Recipe(
        purpose="The same with the network of the literature, to compare with it: some hour and a half on one core.",
        summary=(
            "Classify the training classes with a cosine classifier (Chen et al., A closer look, ICLR 2019, "
            "https://arxiv.org/abs/1904.04232), and then meta-train the head's scale and rates."
        ),
        settings={"backbone": "conv4", **_SETTINGS},
        stages=(Stage("pretrain", 0.99, {**_PRETRAIN, "iterations": iterations}), _HEAD),
    )


_PHOTOS = Recipe(
    purpose="For photos, of a few classes and up: the time of looking at each of them once or a few times, then minutes.",
    summary=(
        "EfficientNet-Lite0 with its published ImageNet weights (Tan and Le, https://arxiv.org/abs/1905.11946), which stay as "
        "they are, and a head that is meta-trained on its features: pre-train, meta-train, adapt (Hu et al., P>M>F, CVPR 2022, "
        "https://arxiv.org/abs/2204.07305)."
    ),
    settings={
        "backbone": "lite0",
        "pretrained": True,
        "centred": False,
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


@dataclass(frozen=True)
class ChosenRecipe:
    """A recipe to train by.

    Attributes:
        name: of `RECIPES`.
        overrides: settings of the user's own, for every stage; patience for those stages that keep their best state.
        minutes: a budget for all of it, in place of the iterations of each stage.
    """

    name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    minutes: float | None = None

    @property
    def first(self) -> TrainingConfig:
        """The configuration of the first stage; all stages read images as it does."""
        return next(iter(find_recipe(self.name).configurations(self.overrides, self.minutes).values()))


def find_recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        EdgeAdaptError: there is none.
    """
    if name not in RECIPES:
        raise EdgeAdaptError(f"{name!r} is not a recipe; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]
