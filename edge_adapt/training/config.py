"""Everything that decides the outcome of a meta-training run, besides its data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from edge_adapt.methods import METHODS
from edge_adapt.methods.method import OPTIONS
from edge_adapt.networks.backbones.timm import PREFIX as TIMM
from edge_adapt.networks.gradient_head import Initialization
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import MAX_STEPS
from edge_adapt.runtime.images.images import Preprocessing
from edge_adapt.runtime.images.views import LEAST_PART, MIRRORED, PHOTO_VIEWS, View

LITE = ("lite0", "lite0-small", "lite2")
"""Backbones whose weights were published, trained on photos and their mirror images."""

MAX_BATCH = 100_000
"""Episodes (or images) in an outer step at most: more is a slip of the finger, and the first step would not end."""

MAX_TEACHER_CROPS = 1000
"""Of each image: more features than any disk is for."""

CROP_STEP = 8
"""Pixels by which crops that grow do so at a time."""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides the outcome of a meta-training run, besides its data.

    Attributes:
        method: a name of `edge_adapt.methods.METHODS`.
        head: initialization of the gradient head, `prototype` or `zero`.
        backbone: a name of `edge_adapt.networks.backbones.BACKBONES`, `timm:NAME`, or "custom" for a module passed to `train`.
        pretrained: begin with the weights published for `lite0`, or timm's for one of its networks.
        image_size: height and width of the images, pixels.
        part: of the middle square of an image, how much is seen, in height and width; 0.1 to 1.
        grayscale: one channel instead of three, and light strokes on a dark ground turned over.
        rotations: make four classes of each by quarter turns.
        centred: take the mean of the training images' features from the features, and bring them to length 1.
        n_way, n_shot, n_query: of the training episodes; `n_query` images a class.
        steps: of the inner loop; None takes the method's own number, which is 0 for methods without steps.
        first_order: take the inner gradients of an inner loop on all layers as constants.
        per_step_rates: learn a rate for each tensor and step in `maml`, in place of one a tensor.
        multi_step_loss: in training, count the query loss after every step of an inner loop on all layers, and less and less so.
        recompute: compute the steps of an inner loop on all layers again in the backward pass, to save memory.
        meta_batch: episodes in an outer step.
        batch_size: images in a step of `classify` and `distil`.
        teacher_crops: how many crops of each image the teachers of `distil` see, of which the first is all of it and the second
            all of it mirrored; without `augment` only the first.
        teacher_share: of the loss of `distil`, how much is about the teachers' features, above 0 to 1; the rest is about classes.
        crop_size: height and width, in pixels, of the crops of RGB images that `augment` makes; None takes `image_size`.
            Crops show things larger than whole images do, and smaller pixels make up for that (Touvron et al., "Fixing the
            train-test resolution discrepancy", NeurIPS 2019, https://arxiv.org/abs/1906.06423) and take less time.
        first_crop_size: where crops grow, the size that they have at first: by `CROP_STEP` pixels at a time, after equal parts of
            the budget, they come to `crop_size`, for little can be learned from few pixels before much from many (Tan and Le,
            "EfficientNetV2", ICML 2021, https://arxiv.org/abs/2104.00298). None takes `crop_size` from the start.
        learning_rate: at its peak; it falls to zero along a cosine.
        augment: change the training images a little; see `edge_adapt.methods.augmentation.augment`.
        iterations: outer steps to take; or
        minutes: time to take them in.
        patience: validations without a better one after which training stops before its budget is spent; None never does.
        seed: of initialization and episodes, 0 to 2^32 - 1.

    Raises:
        EdgeAdaptError: a value that cannot be; names the field.
    """

    method: str = "anil"
    head: Initialization = "prototype"
    backbone: str = "conv4"
    pretrained: bool = False
    image_size: int = 28
    part: float = 1.0
    grayscale: bool = False
    rotations: bool = False
    centred: bool = False
    n_way: int = 20
    n_shot: int = 1
    n_query: int = 5
    steps: int | None = None
    first_order: bool = False
    per_step_rates: bool = False
    multi_step_loss: bool = False
    recompute: bool = False
    meta_batch: int = 8
    batch_size: int = 128
    teacher_crops: int = 4
    teacher_share: float = 0.9
    crop_size: int | None = None
    first_crop_size: int | None = None
    learning_rate: float = 0.002
    augment: bool = False
    iterations: int | None = None
    minutes: float | None = None
    patience: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("head", get_args(Initialization))):
            if getattr(self, name) not in known:
                raise EdgeAdaptError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(known)}.")
        self._require_what_the_method_has()
        if self.pretrained and not self.backbone.startswith((TIMM, *LITE)):
            raise EdgeAdaptError(
                f"there are no pretrained weights of the backbone {self.backbone}; choose {LITE[0]} or {TIMM}NAME."
            )
        least = {"image_size": 1, "n_way": 2, "n_shot": 1, "n_query": 1, "steps": 0, "meta_batch": 1, "iterations": 1}
        least |= {"batch_size": 2, "teacher_crops": 1, "crop_size": 1, "first_crop_size": 1, "patience": 1, "seed": 0}
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise EdgeAdaptError(f"{name} is {value}; take {smallest} or more.")
        for name in ("learning_rate", "minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise EdgeAdaptError(f"{name} is {value}; take a number above 0.")
        if not 0 < self.teacher_share <= 1:
            raise EdgeAdaptError(f"teacher_share is {self.teacher_share}; take a number above 0, up to 1.")
        if not LEAST_PART <= self.part <= 1:
            raise EdgeAdaptError(f"part is {self.part}; take {LEAST_PART} to 1.")
        for name, largest in (
            ("steps", MAX_STEPS),
            ("meta_batch", MAX_BATCH),
            ("batch_size", MAX_BATCH),
            ("teacher_crops", MAX_TEACHER_CROPS),
            ("seed", 2**32 - 1),
        ):
            if (getattr(self, name) or 0) > largest:
                raise EdgeAdaptError(f"{name} is {getattr(self, name)}; take {largest} or less.")
        if self.first_crop_size is not None and not (self.crop_size and self.first_crop_size < self.crop_size):
            raise EdgeAdaptError(
                f"crops grow from {self.first_crop_size} pixels to {self.crop_size or 'no size of their own'}; take a crop size "
                "above the first."
            )

    def _require_what_the_method_has(self) -> None:
        method = METHODS[self.method]
        for option in sorted(OPTIONS - method.options):
            if getattr(self, option) != getattr(type(self), option):
                raise EdgeAdaptError(f"{option} is not for the method {self.method}; leave it out.")
        if self.patience is not None and not method.keeps_best:
            raise EdgeAdaptError(
                f"patience is not for the method {self.method}, which exports as it is at its end; leave it out."
            )
        if method.inner_loop and not self.inner_steps:
            raise EdgeAdaptError(f"steps is 0, and {self.method} is its steps; take 1 or more.")

    @property
    def inner_steps(self) -> int:
        """How many steps the inner loop takes."""
        return METHODS[self.method].default_steps if self.steps is None else self.steps

    @property
    def support_views(self) -> tuple[View, ...]:
        """How a device looks at support images beside as they are.

        As `augment` made the backbone see photos, where features have length 1 and differ by direction alone: protonet on
        features as they are lost a point by it, for their mean is shorter than each. Mirrored drawings are others.
        """
        if self.backbone in LITE:
            return () if self.grayscale else MIRRORED
        return PHOTO_VIEWS if self.augment and self.centred and not self.grayscale else ()

    @property
    def crop_sizes(self) -> tuple[int, ...]:
        """Heights and widths in which the backbone sees images where it is trained, each for an equal part of the budget."""
        if not (self.augment and self.crop_size) or self.grayscale:
            return (self.image_size,)
        return (*range(self.first_crop_size or self.crop_size, self.crop_size, CROP_STEP), self.crop_size)

    def crop_size_at(self, spent: float) -> int:
        """That of `crop_sizes` at which this share of the budget, 0 to 1, is behind."""
        sizes = self.crop_sizes
        return sizes[min(int(spent * len(sizes) + 1e-9), len(sizes) - 1)]

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become the pixels of this model."""
        channels, ground = (1, "light") if self.grayscale else (3, "any")
        return Preprocessing(self.image_size, self.image_size, channels, part=self.part, ground=ground)
