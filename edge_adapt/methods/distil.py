"""Pre-training with the features of networks that have seen more: classify the training classes, and say what a teacher says.

Hinton et al., "Distilling the knowledge in a neural network", 2015, https://arxiv.org/abs/1503.02531; of features in place of
answers Romero et al., "FitNets", ICLR 2015, https://arxiv.org/abs/1412.6550, and by a cosine and for several teachers at once
Ranzinger et al., "AM-RADIO", CVPR 2024, https://arxiv.org/abs/2312.06709. A teacher of answers knows the training classes; one of
features may be anything that sees images.

A teacher is asked once, about a few crops of each image that are the same in every run (Shen and Xing, "A fast knowledge
distillation framework for visual recognition", ECCV 2022, https://arxiv.org/abs/2112.01528), and the student sees the same crops
in colours that are new each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.methods.augmentation import jitter_colours, seen_through
from edge_adapt.methods.objective import Objective, TrainingData
from edge_adapt.methods.pretrain import Classification, Pretrain, classification_loss
from edge_adapt.methods.stored_crops import features_of_crops, stored_crops
from edge_adapt.networks.head import at_least_float32
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.pixel_cache import default_cache
from edge_adapt.runtime.errors import EdgeAdaptError

BACKBONE_SHARE, PRETRAINED_SHARE = 0.3, 0.1
"""Of the learning rate, for the backbone: what is thrown away afterwards starts from nothing and has further to go, above all
where the backbone does not."""

WEIGHT_DECAY = 0.01

MAX_TEACHER_CROPS = 1000
"""Of each image: more features than any disk is for."""


class Distillation(Classification):
    """The loss of a batch of crops; see `edge_adapt.methods.objective.Objective`.

    Smoothed cross-entropy of the cosine classifier, and for each teacher 1 less the cosine between its features and a linear map
    of all of the student's, which is thrown away afterwards. The mean is taken from the teacher's features first: what all images
    have in common would make up most of the cosine.

    Args:
        learner: whose backbone is trained.
        data: what to draw from, and the teachers.
        crops: how many of each image the teachers see.
        teacher_share: of the loss, what is about their features.

    Raises:
        EdgeAdaptError: a teacher takes grey images and these are RGB.
    """

    def __init__(self, learner: MetaLearner, data: TrainingData, crops: int, teacher_share: float) -> None:
        super().__init__(learner, data)
        self._crops, self._teacher_share = crops, teacher_share
        for teacher in data.teachers.features:
            if teacher.preprocessing.channels == 1 and data.sampler.rows.shape[-1] == 3:
                raise EdgeAdaptError(
                    f"the teacher {teacher.name} takes grey images and these are RGB; take one of RGB images, or --grayscale."
                )
        self.regressions = nn.ModuleList(
            nn.Linear(self.feature_size, teacher.feature_size) for teacher in data.teachers.features
        ).to(data.generator.device)

    def prepare(self, learner: MetaLearner) -> None:
        """Have the teachers look at the crops, or find their features in the cache."""
        data, images = self._data, self._data.sampler.dataset
        maps = stored_crops(images, self._crops if data.augmentation.enabled else 1)
        directory = data.cache or default_cache()
        self._features = [
            features_of_crops(teacher, images, maps, directory, data.progress) for teacher in data.teachers.features
        ]
        self._means = [_mean(features) for features in self._features]
        self._maps = maps.to(data.generator.device)

    def loss(self, learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        """The loss over one crop each of `count` images (differentiable, scalar) and the share of right answers (scalar)."""
        data = self._data
        positions = data.sampler.draw_positions(count, data.generator)
        crops = torch.randint(len(self._maps), (count,), generator=data.generator, device=data.generator.device)
        images, labels = data.sampler.at(positions)
        size = data.augmentation.size_at(spent)
        pixels = seen_through(images.permute(0, 3, 1, 2).to(torch.float32), self._maps[crops, positions], size, size)
        if data.augmentation.enabled and pixels.shape[1] == 3:
            pixels = jitter_colours(pixels, data.generator)
        if data.from_published:
            _keep_statistics(learner.embedding.backbone)
        features, logits = self._answers(learner, pixels.permute(0, 2, 3, 1))
        taught = self._taught(crops, positions)
        further = [
            cosine_distance(linear(features), target) for linear, target in zip(self.regressions, taught, strict=True)
        ]
        loss, accuracy = classification_loss(logits, labels)
        share = self._teacher_share
        return (1 - share) * loss + share * torch.stack(further).mean(), accuracy

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """AdamW, the backbone at a share of the rate, `BACKBONE_SHARE` or `PRETRAINED_SHARE`.

        Loshchilov and Hutter, ICLR 2019, https://arxiv.org/abs/1711.05101.

        With the stochastic gradient descent of `Classification` the regression, whose loss is flat at first, had learned next to
        nothing after a hundred steps, and with this most of what it learns.
        """
        share = PRETRAINED_SHARE if self._data.from_published else BACKBONE_SHARE
        groups: list[dict[str, Any]] = [
            {"params": [*learner.embedding.backbone.parameters()], "share": share},
            {"params": [*self.parameters()]},
        ]
        return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=WEIGHT_DECAY)

    def _taught(self, crops: Tensor, positions: Tensor) -> list[Tensor]:
        """What each teacher gives for these crops of these images, less its mean, float32 [B, D] on the training device."""
        chosen = list(zip(crops.tolist(), positions.tolist(), strict=True))
        rows = [np.stack([of_teacher[crop][position] for crop, position in chosen]) for of_teacher in self._features]
        return [
            torch.from_numpy(features.astype(np.float32) - mean).to(positions.device)
            for features, mean in zip(rows, self._means, strict=True)
        ]


def cosine_distance(features: Tensor, target: Tensor) -> Tensor:
    """1 less the cosine between features and their target, [B, D] each, on average (scalar); float32 under autocast too."""
    with torch.autocast(features.device.type, enabled=False):
        return 1 - functional.cosine_similarity(at_least_float32(features), target, dim=1).mean()


def _keep_statistics(backbone: nn.Module) -> None:
    """Normalize by the statistics that came with published weights: those of sharp photos, where training may see thumbnails."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _mean(features: list[NDArray[np.float16]]) -> NDArray[np.float32]:
    """Over all crops of all images [D]."""
    mean: NDArray[np.float32] = np.mean([crop.mean(0, dtype=np.float64) for crop in features], axis=0).astype(
        np.float32
    )
    return mean


@dataclass(frozen=True)
class Distil(Pretrain):
    """Classify as `Pretrain` does, and learn to give the features of teachers.

    Attributes:
        teacher_crops: how many crops of each image the teachers see, of which the first is all of it and the second all of it
            mirrored; without augmentation only the first.
        teacher_share: of the loss, how much is about the teachers' features, above 0 to 1; the rest is about classes.

    Raises:
        EdgeAdaptError: a setting that cannot be.
    """

    name: ClassVar[str] = "distil"
    summary: ClassVar[str] = (
        "classify as pretrain does, and learn to give the features of teachers, to start episodes from"
    )

    teacher_crops: int = 4
    teacher_share: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.teacher_crops <= MAX_TEACHER_CROPS:
            raise EdgeAdaptError(f"teacher_crops is {self.teacher_crops}; take 1 to {MAX_TEACHER_CROPS}.")
        if not 0 < self.teacher_share <= 1:
            raise EdgeAdaptError(f"teacher_share is {self.teacher_share}; take a number above 0, up to 1.")

    def objective(self, learner: MetaLearner, data: TrainingData) -> Objective:
        """See `Distillation`."""
        return Distillation(learner, data, self.teacher_crops, self.teacher_share)
