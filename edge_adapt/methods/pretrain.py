"""Pre-training: classify the training classes, all of them at once, with a cosine classifier that is thrown away afterwards.

Chen et al., "A closer look at few-shot classification", ICLR 2019, https://arxiv.org/abs/1904.04232 (the cosine classifier), and
"Meta-Baseline", ICCV 2021, https://arxiv.org/abs/2003.04390: features learned so separate new classes too, and are the best start
for episodic meta-training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.methods.episodes import EpisodeShape, ImageSampler
from edge_adapt.methods.method import GradientMethod
from edge_adapt.methods.objective import Objective, StepMetrics, TrainingData, backpropagate
from edge_adapt.networks.backbones.layers import classified
from edge_adapt.networks.head import at_least_float32
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError

MOMENTUM = 0.9

WEIGHT_DECAY = 5e-4

LABEL_SMOOTHING = 0.1

TEMPERATURE = 4.0
"""Of both softmaxes in distillation, after Tian et al."""


class CosineClassifier(nn.Module):
    """Logits from the cosine between features and a learned vector for each class, times a learned scale.

    Args:
        n_classes: of the training classes.
        feature_size: D, of what `edge_adapt.networks.backbones.layers.classified` gives.
    """

    def __init__(self, n_classes: int, feature_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_classes, feature_size) / math.sqrt(feature_size))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, features: Tensor) -> Tensor:
        """float [B, D] to [B, n_classes], float32 under autocast too."""
        with torch.autocast(features.device.type, enabled=False):
            cosines = (
                functional.normalize(at_least_float32(features), dim=1) @ functional.normalize(self.weight, dim=1).T
            )
            return self.log_scale.exp() * cosines


class Classification(nn.Module):
    """The supervised loss of a batch of images; see `edge_adapt.methods.objective.Objective`.

    With a teacher, half of the loss is how far the answers are from the teacher's, which know more than the labels: what a class
    is like besides itself. A teacher of the same size helps too (Tian et al., "Rethinking few-shot image classification: a good
    embedding is all you need?", ECCV 2020, https://arxiv.org/abs/2003.11539; Hinton et al., 2015,
    https://arxiv.org/abs/1503.02531).

    Args:
        learner: whose backbone is trained.
        data: what to draw from, and what to distil.
    """

    micro_batches: tuple[int, ...] = (32, 64, 128)

    def __init__(self, learner: MetaLearner, data: TrainingData) -> None:
        super().__init__()
        self.units, self._data = data.units, data
        self.feature_size, seen = _sizes(learner.embedding.backbone, data.sampler)
        self.classifier = CosineClassifier(data.sampler.n_classes, seen).to(data.generator.device)

    def prepare(self, learner: MetaLearner) -> None:
        """Nothing."""

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        """That of `loss`; see `Objective.accumulate`."""
        return backpropagate(*self.loss(learner, count, spent), share)

    def loss(self, learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        """Smoothed cross-entropy in nats over `count` images (differentiable, scalar) and the share of right answers (scalar)."""
        teacher, change = self._data.teachers.answers, self._data.augmented_at(spent)
        images, labels = self._data.sampler.draw_images(count, self._data.generator)
        if change:
            images = change(images)
        _, logits = self._answers(learner, images)
        loss, accuracy = classification_loss(logits, labels)
        if teacher:
            loss = (loss + distillation_loss(logits, teacher(images))) / 2
        return loss, accuracy

    def _answers(self, learner: MetaLearner, images: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels in 0..255, uint8 or float [B, H, W, C], to all features of the backbone [B, D] and logits [B, n_classes]."""
        normalized = learner.embedding.normalize(images).contiguous(memory_format=torch.channels_last)
        backbone = learner.embedding.backbone
        features: Tensor = backbone(normalized)
        return features, self.classifier(classified(backbone, features))

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """Stochastic gradient descent with Nesterov momentum; weight decay on weights, not on scales, biases and rates."""
        parameters = [*learner.embedding.backbone.parameters(), *self.parameters()]
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM, nesterov=True)


def classification_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Smoothed cross-entropy in nats of logits [B, n_classes] with labels [B], and the share of right answers; scalars."""
    loss = functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
    return loss, (logits.detach().argmax(1) == labels).float().mean()


def distillation_loss(logits: Tensor, of_teacher: Tensor) -> Tensor:
    """The divergence in nats of softened answers [B, n_classes] from the teacher's, times the temperature's square."""
    ours, theirs = (functional.log_softmax(each / TEMPERATURE, dim=1) for each in (logits, of_teacher))
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True) * TEMPERATURE**2


def _sizes(backbone: nn.Module, sampler: ImageSampler) -> tuple[int, int]:
    """How many numbers the backbone gives, and how many of them a classifier of the training classes looks at."""
    height, width, channels = sampler.rows.shape[1:]
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(2, channels, height, width, device=sampler.starts.device))
    backbone.train()
    return features.shape[1], classified(backbone, features).shape[1]


@dataclass(frozen=True)
class Pretrain(GradientMethod):
    """Classify all training classes at once."""

    name: ClassVar[str] = "pretrain"
    summary: ClassVar[str] = "classify all training classes at once, to start episodes from"
    of_images: ClassVar[bool] = True
    keeps_best: ClassVar[bool] = False
    """Features are centred at the end, and only where the learning rate has come to zero is it any good."""

    def objective(self, learner: MetaLearner, data: TrainingData) -> Objective:
        """See `Classification`."""
        return Classification(learner, data)

    def require(self, data: ImageDataset, episodes: EpisodeShape) -> None:
        """Raise DataError unless there are classes to tell apart."""
        if len(data.class_names) < 2:
            raise DataError(
                f"{data.source}: there is one class, and a classifier tells two or more apart; add classes."
            )
