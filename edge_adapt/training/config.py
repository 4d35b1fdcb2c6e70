"""Everything that decides the outcome of a meta-training run, besides its data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from edge_adapt.methods import SETTINGS, method_of
from edge_adapt.methods.anil import ANIL
from edge_adapt.methods.augmentation import Augmentation
from edge_adapt.methods.episodes import EpisodeShape
from edge_adapt.methods.method import Method
from edge_adapt.networks.backbones import PUBLISHED
from edge_adapt.networks.backbones.timm import PREFIX as TIMM
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import LEAST_PART, MIRRORED, PHOTO_VIEWS, View

MAX_BATCH = 100_000
"""Episodes (or images) in an outer step at most: more is a slip of the finger, and the first step would not end."""

CROP_STEP = 8
"""Pixels by which crops that grow do so at a time."""

N_WAY, N_QUERY = 20, 5
"""Of training episodes, where there are so many classes and images."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of a meta-training run, besides its data.

    Attributes:
        method: what to train, with its settings.
        backbone: a name of `edge_adapt.networks.backbones.BACKBONES`, `timm:NAME`, or "custom" for a module passed to `train`.
        pretrained: begin with the weights published for `lite0`, or timm's for one of its networks.
        image_size: height and width of the images, pixels.
        part: of the middle square of an image, how much is seen, in height and width; 0.1 to 1.
        grayscale: one channel instead of three, and light strokes on a dark ground turned over.
        rotations: make four classes of each by quarter turns.
        centred: take the mean of the training images' features from the features, and bring them to length 1; None takes what
            the method says.
        n_way, n_shot, n_query: of the training episodes; `n_query` images a class. None takes 20 ways and 5 queries, or what the
            data allow.
        meta_batch: episodes in an outer step.
        batch_size: images in a step of a method of images.
        crop_size: height and width, in pixels, of the crops of RGB images that `augment` makes; None takes `image_size`.
            Crops show things larger than whole images do, and smaller pixels make up for that (Touvron et al., "Fixing the
            train-test resolution discrepancy", NeurIPS 2019, https://arxiv.org/abs/1906.06423) and take less time.
        first_crop_size: where crops grow, the size that they have at first: by `CROP_STEP` pixels at a time, after equal parts of
            the budget, they come to `crop_size`, for little can be learned from few pixels before much from many (Tan and Le,
            "EfficientNetV2", ICML 2021, https://arxiv.org/abs/2104.00298). None takes `crop_size` from the start.
        learning_rate: at its peak; it falls to zero along a cosine. None takes what the method says.
        augment: change the training images a little; see `edge_adapt.methods.augmentation.augment`.
        iterations: outer steps to take; or
        minutes: time to take them in. None for both takes what the method says.
        patience: validations without a better one after which training stops before its budget is spent; None never does.
        seed: of initialization and episodes, 0 to 2^32 - 1.

    Raises:
        EdgeAdaptError: a value that cannot be; names the field.
    """

    method: Method = ANIL()  # noqa: RUF009  # frozen
    backbone: str = "conv4"
    pretrained: bool = False
    image_size: int = 28
    part: float = 1.0
    grayscale: bool = False
    rotations: bool = False
    centred: bool | None = None
    n_way: int | None = None
    n_shot: int = 1
    n_query: int | None = None
    meta_batch: int = 8
    batch_size: int = 128
    crop_size: int | None = None
    first_crop_size: int | None = None
    learning_rate: float | None = None
    augment: bool = False
    iterations: int | None = None
    minutes: float | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iterations is not None and self.minutes is not None:
            raise EdgeAdaptError("a training budget is either iterations or minutes; give one of the two.")
        budget = ("iterations", "minutes") if self.iterations is None and self.minutes is None else ()
        for name in ("centred", "learning_rate", *budget):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.method, name))
        if self.pretrained and not self.backbone.startswith((TIMM, *PUBLISHED)):
            raise EdgeAdaptError(
                f"there are no pretrained weights of the backbone {self.backbone}; choose {PUBLISHED[0]} or {TIMM}NAME."
            )
        if self.patience is not None and not self.method.keeps_best:
            raise EdgeAdaptError(
                f"patience is not for the method {self.method.name}, which exports as it is at its end; leave it out."
            )
        if not LEAST_PART <= self.part <= 1:
            raise EdgeAdaptError(f"part is {self.part}; take {LEAST_PART} to 1.")
        self._require_numbers()

    def _require_numbers(self) -> None:
        least = {
            "image_size": 1,
            "n_way": 2,
            "n_shot": 1,
            "n_query": 1,
            "meta_batch": 1,
            "iterations": 1,
            "batch_size": 2,
        }
        least |= {"crop_size": 1, "first_crop_size": 1, "patience": 1, "seed": 0}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise EdgeAdaptError(f"{name} is {value}; take {smallest} or more.")
        for name in ("learning_rate", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise EdgeAdaptError(f"{name} is {value}; take a number above 0.")
        for name, largest in (("meta_batch", MAX_BATCH), ("batch_size", MAX_BATCH), ("seed", 2**32 - 1)):
            if getattr(self, name) > largest:
                raise EdgeAdaptError(f"{name} is {getattr(self, name)}; take {largest} or less.")
        if self.first_crop_size is not None and not (self.crop_size and self.first_crop_size < self.crop_size):
            raise EdgeAdaptError(
                f"crops grow from {self.first_crop_size} pixels to {self.crop_size or 'no size of their own'}; take a crop size "
                "above the first."
            )

    def fitted_to(self, data: ImageDataset) -> TrainingConfig:
        """With ways and queries that say nothing in numbers, as many as the data allow."""
        left = int(data.counts.min()) - self.n_shot
        n_way = self.n_way or max(2, min(N_WAY, len(data.class_names)))
        return replace(self, n_way=n_way, n_query=self.n_query or max(1, min(N_QUERY, left)))

    @property
    def episodes(self) -> EpisodeShape:
        """Of the training episodes; ways and queries as `fitted_to` gives them without any data to look at."""
        return EpisodeShape(self.n_way or N_WAY, self.n_shot, self.n_query or N_QUERY)

    @property
    def units(self) -> int:
        """Episodes, or images, in an outer step."""
        return self.batch_size if self.method.of_images else self.meta_batch

    @property
    def support_views(self) -> tuple[View, ...]:
        """How a device looks at support images beside as they are.

        As `augment` made the backbone see photos, where features have length 1 and differ by direction alone: protonet on
        features as they are lost a point by it, for their mean is shorter than each. Mirrored drawings are others.
        """
        if self.backbone in PUBLISHED:
            return () if self.grayscale else MIRRORED
        return PHOTO_VIEWS if self.augment and self.centred and not self.grayscale else ()

    @property
    def augmentation(self) -> Augmentation:
        """How training images are changed, and in which sizes the backbone sees them."""
        if not (self.augment and self.crop_size) or self.grayscale:
            return Augmentation(self.image_size, self.augment)
        growing = range(self.first_crop_size or self.crop_size, self.crop_size, CROP_STEP)
        return Augmentation(self.image_size, self.augment, (*growing, self.crop_size))

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the pixels of this model."""
        channels, ground = (1, "light") if self.grayscale else (3, "any")
        return Preprocessing(self.image_size, self.image_size, channels, part=self.part, ground=ground)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, the method's name and settings under `method`; `from_dict` is the inverse."""
        return asdict(self) | {"method": {"name": self.method.name, **asdict(self.method)}}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TrainingConfig:
        """Raises EdgeAdaptError or TypeError for what is of another edge-adapt."""
        return TrainingConfig(**{**values, "method": method_of(**dict(values["method"]))})

    @staticmethod
    def of(method: str = ANIL.name, **settings: Any) -> TrainingConfig:
        """The configuration of a method by its name, whose own settings stand among the others, as the command line gives them.

        Raises:
            EdgeAdaptError: a value that cannot be, or that the method does not have.
        """
        own, others = _split(settings)
        return TrainingConfig(method_of(method, **own), **others)

    def changed(self, **settings: Any) -> TrainingConfig:
        """With other settings, those of the method among them.

        Raises:
            EdgeAdaptError: a value that cannot be, or that the method does not have.
        """
        own, others = _split(settings)
        method = method_of(self.method.name, **{**asdict(self.method), **own}) if own else self.method
        return replace(self, method=method, **others)


def _split(settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of methods, and the others."""
    own = {name: value for name, value in settings.items() if name in SETTINGS}
    return own, {name: value for name, value in settings.items() if name not in SETTINGS}


def differences(then: TrainingConfig, now: TrainingConfig) -> str:
    """The settings that differ, in words."""
    pairs = [(field.name, getattr(then, field.name), getattr(now, field.name)) for field in fields(then)]
    if type(then.method) is type(now.method):
        pairs = [*_pairs(then.method, now.method), *pairs[1:]]
    else:
        pairs[0] = ("method", then.method.name, now.method.name)
    return ", ".join(f"{name} {before}, not {after}" for name, before, after in pairs if before != after)


def _pairs(then: Method, now: Method) -> list[tuple[str, Any, Any]]:
    return [(field.name, getattr(then, field.name), getattr(now, field.name)) for field in fields(then)]
