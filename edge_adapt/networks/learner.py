"""The model that meta-training trains: a backbone and a head behind `embed`, `adapt` and `predict`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.networks.backbones.layers import Part, last_layers
from edge_adapt.networks.gradient_head import GradientHead
from edge_adapt.networks.head import Head, HeadState, at_least_float32
from edge_adapt.networks.inner_loop import InnerLoop, predict

NUISANCES = 10
"""Of the directions at most, and one for each eight features. Five did as well on validation classes, 20 half a point worse."""

_POWER = 0.8


class Centring(nn.Module):
    """Features less their mean, each kind at a scale of its own, with less of what tells images of one class apart, of length 1.

    In order: a power transform, sign(f) |f|^0.8, which takes from the few features that are far larger than the others (Hu et
    al., "Leveraging the feature distribution in transfer-based few-shot learning", ICANN 2021, https://arxiv.org/abs/2006.03806);
    mean and scale (Wang et al., "SimpleShot", 2019, https://arxiv.org/abs/1911.04623); and the ten directions in which images of
    one class differ most, such as light and pose, brought down to how much they differ in the next one (within-class covariance
    normalization, Hatch et al., Interspeech 2006, here of the first few directions alone: the others are estimated too badly to
    help). Episodic meta-training then learns mean, scale and directions like any other parameter.

    On mini-ImageNet's validation classes, 5-way 1-shot and 5-shot, with the nearest prototype of features of `edge`, trained on
    64 classes: 54.1 and 71.5%; with the directions 54.8 and 72.3, with the power transform too 55.1 and 72.8.

    Args:
        feature_size: D.
    """

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(feature_size))
        self.scale = nn.Parameter(torch.ones(feature_size))
        self.nuisances = nn.Parameter(torch.zeros(max(1, min(NUISANCES, feature_size // 8)), feature_size))

    def forward(self, features: Tensor) -> Tensor:
        """float [B, D] to float [B, D]."""
        scaled = (_powered(features) - self.mean) * self.scale
        # As sums of products, which quantization leaves in floating point, and not as matrix products.
        along = (scaled.unsqueeze(1) * self.nuisances).sum(2, keepdim=True)  # [B, K, 1]
        left: Tensor = scaled - (along * self.nuisances).sum(1)
        lengths: Tensor = left.norm(dim=-1, keepdim=True)
        return left / lengths.clamp(min=1e-12)

    @torch.no_grad()
    def fit(self, features: Tensor, labels: Tensor, parts: Sequence[Part]) -> None:
        """Take mean, scale and directions from features of the training images.

        Args:
            features: of the backbone, float [I, D].
            labels: their classes, int64 [I].
            parts: of the features; their sizes add up to D, and their differences from the mean get lengths like their weights.
        """
        powered = _powered(at_least_float32(features))
        mean = powered.mean(0)
        energies = torch.split(powered.var(0, correction=0), [part.size for part in parts])
        scale = torch.cat(
            [
                (part.weight / energy.sum().clamp(min=1e-12).sqrt()).expand(part.size)
                for part, energy in zip(parts, energies, strict=True)
            ]
        )
        spread, directions = _within_classes(functional.normalize((powered - mean) * scale, dim=1), labels)
        count = len(self.nuisances)
        strongest, following = spread[-count:], spread[-min(count + 1, len(spread))]
        damping = 1 - (following / strongest.clamp(min=1e-12)).clamp(max=1).sqrt()
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        self.nuisances.copy_((directions[:, -count:] * damping.sqrt()).T)


def _powered(features: Tensor) -> Tensor:
    """sign(f) |f|^0.8; the least magnitude keeps the gradient finite."""
    return features.sign() * features.abs().clamp(min=1e-6) ** _POWER


def _within_classes(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of features [I, D] less the means of their classes: variances [D] in rising order, and their directions [D, D], columns."""
    shares = functional.one_hot(labels).to(features.dtype)
    means = (shares.T @ features) / shares.sum(0).clamp(min=1).unsqueeze(1)
    differences = features - means[labels]
    variances, directions = torch.linalg.eigh(differences.T @ differences / len(features))
    return variances.clamp(min=0), directions


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
        """Normalized images, float [B, C, H, W], to features [B, D], float32 under autocast too.

        Of a backbone that gives several kinds of features the first, unless `centring` brings them to one scale.
        """
        features = at_least_float32(self.backbone(normalized))
        if self.centring is None:
            return last_layers(self.backbone, features)
        centred: Tensor = self.centring(features)
        return centred


class Pixels(nn.Module):
    """uint8 images as decoded to normalized pixels: the features where all layers adapt.

    Args:
        embedding: which normalizes them.
    """

    def __init__(self, embedding: Embedding) -> None:
        super().__init__()
        self.embedding = embedding

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [B, H, W, C] to float32 [B, C H W]."""
        return self.embedding.normalize(images).flatten(1)


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
