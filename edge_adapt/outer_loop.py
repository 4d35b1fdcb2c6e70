"""What the outer loop minimizes: the query loss of a piece of the meta-batch, after adapting to its support sets.

ANIL (Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020, https://arxiv.org/abs/1909.09157) adapts the head alone, so all
images of a piece go through the backbone once and the inner loops of its episodes are a few batched matrix products. MAML and
FOMAML (Finn et al., ICML 2017, https://arxiv.org/abs/1703.03400) adapt every layer, an episode at a time.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from edge_adapt.augmentation import augment
from edge_adapt.episodes import labels_of
from edge_adapt.learner import MetaLearner

Method = Literal["anil", "maml", "fomaml", "classify", "head"]

ALL_LAYERS: frozenset[Method] = frozenset({"maml", "fomaml"})
"""Methods whose inner loop adapts the backbone in meta-training."""


def query_loss(
    learner: MetaLearner,
    method: Method,
    images: Tensor,
    n_shot: int,
    steps: int,
    augmentation: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The outer loss of some episodes.

    Args:
        learner: the model.
        method: which inner loop.
        images: uint8 [E, N, n_shot + n_query, H, W, C], as `ImageSampler.draw_episodes` gives them.
        n_shot: how many images of each class are the support set.
        steps: of the inner loop.
        augmentation: draws the augmentation of each image; None leaves the images alone.

    Returns:
        The mean cross-entropy over the query sets (differentiable, scalar) and the share of right answers (scalar).
    """
    episodes, n_way, per_class = images.shape[:3]
    n_query = per_class - n_shot
    pixels = images.flatten(0, 2)  # [E * N * K, H, W, C]
    if augmentation is not None:
        pixels = augment(pixels, augmentation)
    normalized = learner.embedding.normalize(pixels).contiguous(memory_format=torch.channels_last)
    support_labels = labels_of(n_way, n_shot, images.device)
    query_labels = labels_of(n_way, n_query, images.device).expand(episodes, -1)
    if method in ALL_LAYERS:
        logits = _adapt_all_layers(
            learner, normalized, support_labels, (episodes, n_way, n_shot, n_query), steps, method == "fomaml"
        )
    else:
        features = learner.embedding.features(normalized).view(episodes, n_way, per_class, -1)
        support, query = features[:, :, :n_shot].flatten(1, 2), features[:, :, n_shot:].flatten(1, 2)
        with torch.autocast(images.device.type, enabled=False):
            state, _ = learner.adapt(support, support_labels.expand(episodes, -1), n_way, steps)
            logits = learner.predict(query, state)
    logits = logits.to(torch.float32)
    loss = functional.cross_entropy(logits.flatten(0, 1), query_labels.flatten())
    accuracy = (logits.detach().argmax(-1) == query_labels).float().mean()
    return loss, accuracy


def _adapt_all_layers(
    learner: MetaLearner,
    images: Tensor,
    labels: Tensor,
    shape: tuple[int, int, int, int],
    steps: int,
    first_order: bool,
) -> Tensor:
    """Logits [E, N * n_query] of each episode after an inner loop of its own on every layer."""
    episodes, n_way, n_shot, n_query = shape
    by_class = images.view(episodes, n_way, n_shot + n_query, *images.shape[1:])
    support, query = by_class[:, :, :n_shot].flatten(1, 2), by_class[:, :, n_shot:].flatten(1, 2)

    def one(support: Tensor, query: Tensor) -> Tensor:
        state, _ = learner.adapt_all_layers(support, labels, n_way, steps, first_order)
        return learner.predict_all_layers(query, state)

    if images.device.type == "cpu":
        # With weights of its own per episode, vmap turns each convolution into a grouped one, which CPUs run slowly.
        return torch.stack([one(*episode) for episode in zip(support, query, strict=True)])
    logits: Tensor = torch.vmap(one)(support, query)
    return logits
