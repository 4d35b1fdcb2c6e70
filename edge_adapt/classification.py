"""Pre-training: classify the training classes, all of them at once, with a cosine classifier that is thrown away afterwards.

Chen et al., "A closer look at few-shot classification", ICLR 2019, https://arxiv.org/abs/1904.04232 (the cosine classifier), and
"Meta-Baseline", ICCV 2021, https://arxiv.org/abs/2003.04390: features learned so separate new classes too, and are the best start
for episodic meta-training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.augmentation import augment
from edge_adapt.episodes import ImageSampler
from edge_adapt.learner import MetaLearner
from edge_adapt.run import TrainingConfig

MOMENTUM = 0.9

WEIGHT_DECAY = 5e-4

LABEL_SMOOTHING = 0.1


class Classification(nn.Module):
    """The supervised loss of a batch of images; see `edge_adapt.objectives.Objective`.

    Args:
        sampler: the training images on the training device.
        config: batch size, augmentation and crop size.
        feature_size: D of the backbone.
        generator: draws images and augmentation, on the training device.
    """

    pieces: tuple[int, ...] = (32, 64, 128)

    def __init__(
        self, sampler: ImageSampler, config: TrainingConfig, feature_size: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.units = config.batch_size
        self.weight = nn.Parameter(torch.randn(sampler.n_classes, feature_size) / math.sqrt(feature_size))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self._sampler, self._config, self._generator = sampler, config, generator

    def loss(self, learner: MetaLearner, count: int) -> tuple[Tensor, Tensor]:
        """Smoothed cross-entropy in nats over `count` images (differentiable, scalar) and the share of right answers (scalar)."""
        images, labels = self._sampler.draw_images(count, self._generator)
        if self._config.augment:
            images = augment(images, self._generator, self._config.crop_size)
        normalized = learner.embedding.normalize(images).contiguous(memory_format=torch.channels_last)
        features = learner.embedding.backbone(normalized).to(torch.float32)
        with torch.autocast(images.device.type, enabled=False):
            cosines = functional.normalize(features, dim=1) @ functional.normalize(self.weight, dim=1).T
            logits = self.log_scale.exp() * cosines
            loss = functional.cross_entropy(logits, labels, label_smoothing=LABEL_SMOOTHING)
        return loss, (logits.detach().argmax(1) == labels).float().mean()

    def optimizer(self, learner: MetaLearner, learning_rate: float) -> torch.optim.Optimizer:
        """Stochastic gradient descent with Nesterov momentum; weight decay on weights, not on scales, biases and rates."""
        parameters = [*learner.embedding.backbone.parameters(), *self.parameters()]
        groups = [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.SGD(groups, lr=learning_rate, momentum=MOMENTUM, nesterov=True)
