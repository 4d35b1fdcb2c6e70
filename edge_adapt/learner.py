"""The model that meta-training trains: a backbone and a head behind `embed`, `adapt` and `predict`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.backbones.layers import Part
from edge_adapt.gradient_head import GradientHead
from edge_adapt.head import Head, HeadState, at_least_float32
from edge_adapt.inner_loop import InnerLoop, predict


class Centring(nn.Module):
    """Features less their mean, each kind of features at its own scale, brought to length 1.

    Wang et al., "SimpleShot", 2019, https://arxiv.org/abs/1911.04623. Mean and scale are those of the training images, which
    `edge_adapt.training` sets after pre-training; episodic meta-training then learns them like any other parameter.

    Args:
        feature_size: D.
    """

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(feature_size))
        self.scale = nn.Parameter(torch.ones(feature_size))

    def forward(self, features: Tensor) -> Tensor:
        """float [B, D] to float [B, D]."""
        return functional.normalize((features - self.mean) * self.scale, dim=-1)

    @torch.no_grad()
    def fit(self, mean: Tensor, variance: Tensor, parts: Sequence[Part]) -> None:
        """Take the mean away, and give the differences that are left the lengths that the parts are to have.

        Args:
            mean, variance: of each feature over the training images, float [D].
            parts: of the features; their sizes add up to D.
        """
        self.mean.copy_(mean)
        energies = torch.split(variance, [part.size for part in parts])
        scales = [
            (part.weight / energy.sum().clamp(min=1e-12).sqrt()).expand(part.size)
            for part, energy in zip(parts, energies, strict=True)
        ]
        self.scale.copy_(torch.cat(scales))


class Embedding(nn.Module):
    """uint8 images as decoded to features: scaling and mean/std normalization, then the backbone.

    Args:
        backbone: float [B, C, H, W] -> float [B, D].
        mean, std: of the training images in 0..1, float [C].
        centring: what is done to the features at last; None leaves them alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, mean: Tensor, std: Tensor, centring: Centring | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.centring = centring
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalize(self, images: Tensor) -> Tensor:
        """Pixels in 0..255, uint8 or float [B, H, W, C], to float32 [B, C, H, W], laid out as they are (channels last)."""
        return ((images.to(torch.float32) - 255 * self.mean) / (255 * self.std)).permute(0, 3, 1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, H, W, C] to float32 features [B, D]."""
        return self.features(self.normalize(images))

    def features(self, normalized: Tensor) -> Tensor:
        """Normalized images, float [B, C, H, W], to features [B, D], float32 under autocast too."""
        features = at_least_float32(self.backbone(normalized))
        return features if self.centring is None else self.centring(features)


class MetaLearner(nn.Module):
    """What is meta-trained, evaluated and exported.

    Args:
        embedding: images to features.
        head: `adapt` and `predict`.
        inner_loop: of a method that adapts all layers in meta-training; `head` is then a `GradientHead`.
    """

    def __init__(self, embedding: Embedding, head: Head, inner_loop: InnerLoop | None = None) -> None:
        super().__init__()
        self.embedding = embedding
        self.head = head
        self.inner_loop = inner_loop

    def embed(self, images: Tensor) -> Tensor:
        """uint8 [B, H, W, C] to float32 features [B, D]."""
        features: Tensor = self.embedding(images)
        return features

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """Support features [M, D] and labels [M] to the head state and the support losses; see `Head.adapt`."""
        return self.head.adapt(features, labels, n_way, steps)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [B, D] and the head state to logits [B, N]."""
        return self.head.predict(features, state)

    def adapt_all_layers(self, support: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """The inner loop on one episode of normalized images [M, C, H, W]; see `InnerLoop.adapt`."""
        loop, head = self.all_layers()
        return loop.adapt(self.embedding.backbone, head, support, labels, n_way, steps)

    def predict_all_layers(self, query: Tensor, state: HeadState) -> Tensor:
        """Normalized query images [Q, C, H, W] and what `adapt_all_layers` gave, to logits [Q, N]."""
        _, head = self.all_layers()
        return predict(self.embedding.backbone, head, query, state)

    def all_layers(self) -> tuple[InnerLoop, GradientHead]:
        """The inner loop and the head that it steps on, of a method that adapts all layers."""
        assert self.inner_loop is not None and isinstance(self.head, GradientHead)
        return self.inner_loop, self.head
