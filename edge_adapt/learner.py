"""The model that meta-training trains: a backbone and a head behind `embed`, `adapt` and `predict`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from edge_adapt.backbones.layers import Part
from edge_adapt.gradient_head import GradientHead, HeadState


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
        all_layers: give every backbone parameter a learned inner learning rate, for methods whose inner loop adapts them.
    """

    def __init__(self, embedding: Embedding, head: GradientHead, all_layers: bool = False) -> None:
        super().__init__()
        self.embedding = embedding
        self.head = head
        names = [name for name, _ in embedding.backbone.named_parameters()] if all_layers else []
        # One learned rate a tensor (Antoniou et al. 2019); "." may not stand in a parameter's name.
        self.log_backbone_rates = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(torch.tensor(-4.6)) for name in names}
        )

    def embed(self, images: Tensor) -> Tensor:
        """uint8 [B, H, W, C] to float32 features [B, D]."""
        features: Tensor = self.embedding(images)
        return features

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """Support features [M, D] and labels [M] to the head state and the support losses; see `GradientHead.adapt`."""
        return self.head.adapt(features, labels, n_way, steps)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [B, D] and the head state to logits [B, N]."""
        return self.head.predict(features, state)

    def adapt_all_layers(
        self, support: Tensor, labels: Tensor, n_way: int, steps: int, first_order: bool = False
    ) -> tuple[HeadState, Tensor]:
        """The inner loop of MAML on one episode: gradient steps on backbone and head.

        Finn et al., "Model-Agnostic Meta-Learning", ICML 2017, https://arxiv.org/abs/1703.03400. With a prototype head the
        initialization of the head is a function of the backbone, and is differentiated through.

        Args:
            support: normalized support images, float [M, C, H, W].
            labels: int64 [M] in 0..n_way-1.
            n_way: the number of classes N.
            steps: of the inner loop.
            first_order: take the inner gradients as constants (FOMAML).

        Returns:
            The adapted tensors, `backbone.*` and `head.*`, and the support loss before each step [steps].
        """
        slow = dict(self.embedding.backbone.named_parameters())
        features = self._features(slow, support)
        with torch.autocast(features.device.type, enabled=False):
            head = self.head.initialize(features, labels, n_way)
            shots = functional.one_hot(labels, n_way).sum(0).clamp(min=1)
            share = 1 / (n_way * shots[labels].to(features.dtype))  # [M]
            unit = self.head.rate_unit(features, share.unsqueeze(-1), n_way).squeeze()
            unit = unit.detach() if first_order else unit
        fast = {**_prefixed("backbone.", slow), **_prefixed("head.", head)}

        def support_loss(parameters: HeadState) -> Tensor:
            logits = self.predict_all_layers(support, parameters)
            return (functional.cross_entropy(logits, labels, reduction="none") * share).sum()

        losses = []
        for step in range(steps):
            gradients, loss = torch.func.grad_and_value(support_loss)(fast)
            if first_order:
                gradients = {name: gradient.detach() for name, gradient in gradients.items()}
            fast = {name: value - self._rate(name, step, unit) * gradients[name] for name, value in fast.items()}
            losses.append(loss)
        return fast, torch.stack(losses) if losses else support.new_zeros(0)

    def predict_all_layers(self, query: Tensor, state: HeadState) -> Tensor:
        """Normalized query images [Q, C, H, W] and what `adapt_all_layers` gave, to logits [Q, N]."""
        features = self._features(_without_prefix("backbone.", state), query)
        with torch.autocast(features.device.type, enabled=False):
            return self.head.predict(features, _without_prefix("head.", state))

    def _features(self, backbone: Mapping[str, Tensor], images: Tensor) -> Tensor:
        """Features of a backbone with these parameters, float32 or more under autocast too: see `query_loss`."""
        return at_least_float32(functional_call(self.embedding.backbone, dict(backbone), (images,)))

    def _rate(self, name: str, step: int, unit: Tensor) -> Tensor:
        """The learned inner learning rate of one tensor at one step; the head's are in units of `unit`."""
        head_rate = unit * self.head.log_rates[min(step, len(self.head.log_rates) - 1)].exp()
        if name == "head.weight":
            return head_rate
        if name == "head.bias":
            return head_rate * self.head.log_bias_rate.exp()
        log_rate: Tensor = self.log_backbone_rates[name.removeprefix("backbone.").replace(".", "/")]
        return log_rate.exp()


def at_least_float32(features: Tensor) -> Tensor:
    """The head is a few small matrices: float32 costs nothing there, and gradients through it deserve it."""
    return features.to(torch.promote_types(features.dtype, torch.float32))


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
