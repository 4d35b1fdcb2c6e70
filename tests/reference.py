"""The gradient head once more, in NumPy and float64: what the other implementations are compared with.

It follows from the loss alone, and shares no formula with them: the loss of the support set is the cross-entropy, averaged within
each class and then over the classes, and its gradient is written out per image in a plain loop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BIAS_RATE = 0.1


def log_softmax(logits: Array) -> Array:
    """Along the last axis."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def prototype_start(
    features: NDArray[np.floating], labels: NDArray[np.int64], n_way: int, scale: float
) -> tuple[Array, Array]:
    """Weight [N, D] and bias [N] with which the logits are -scale * |feature - prototype|^2, up to a number a feature."""
    prototypes = np.stack([features[labels == label].mean(axis=0) for label in range(n_way)])
    return 2 * scale * prototypes, -scale * (prototypes**2).sum(axis=1)


def rate_unit(features: NDArray[np.floating], labels: NDArray[np.int64], n_way: int, bias_rate: float) -> float:
    """N over the squared norm of a feature vector, with the bias's part, averaged within each class and then over the classes."""
    squares = (np.asarray(features, np.float64) ** 2).sum(axis=1)
    return float(n_way / (np.mean([squares[labels == label].mean() for label in range(n_way)]) + bias_rate))


def curvature(features: NDArray[np.floating], shares: Array) -> float:
    """The 4-norm of the eigenvalues of the features' second moment, [M, D] weighted by shares [M]."""
    moment = (shares[:, None] * features).T @ features
    eigenvalues = np.linalg.eigvalsh(moment) if np.isfinite(moment).all() else np.array([np.nan])
    return float(np.linalg.norm(eigenvalues, 4))


def adapt(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    n_way: int,
    steps: int,
    *,
    scale: float | None,
    pull: float,
) -> tuple[Array, Array, Array]:
    """Weight [N, D] and bias [N] after so many accelerated steps, and the loss where each is taken from [steps].

    A step is four steps of gradient descent, one by one, on Böhning's quadratic upper bound of the loss. Weight and bias are
    one matrix here: the bias is the weight of a further feature, the same for all images, and takes one shorter step instead.

    Args:
        features: support features [M, D].
        labels: [M] in 0..n_way-1.
        n_way: N.
        steps: how many, each of one pass for each 20 ways that are begun.
        scale: of the prototypes that the weights start from; None starts from zero.
        pull: a step ends 1 / (1 + pull) of the way from the start.
    """
    features = np.asarray(features, np.float64)
    shares = np.array([1 / n_way / (labels == label).sum() for label in labels])
    mean = shares @ features
    features = features - mean
    length = 2 / curvature(features, shares)
    moment = (shares[:, None] * features).T @ features
    rows = np.column_stack([features, np.ones(len(features))])
    start = np.zeros((n_way, rows.shape[1]))
    if scale is not None:
        weight, bias = prototype_start(features, labels, n_way, scale)
        start = np.column_stack([weight, bias])
    here = before = start
    losses = []
    passes = (n_way + 19) // 20
    for step in range(steps * passes):
        ahead = here + step / (step + 3) * (here - before)
        gradient, loss = np.zeros_like(here), 0.0
        for row, label, share in zip(rows, labels, shares, strict=True):
            log_probabilities = log_softmax(ahead @ row)
            loss -= share * log_probabilities[label]
            gradient += share * np.outer(np.exp(log_probabilities) - np.eye(n_way)[label], row)
        change = np.zeros_like(here)
        for _ in range(4):  # the bound curves by half the moment
            change[:, :-1] -= length * (gradient[:, :-1] + change[:, :-1] @ moment / 2)
        change[:, -1] = -2 * BIAS_RATE * gradient[:, -1]
        here, before = start + (ahead + change - start) / (1 + pull), here
        losses += [loss] if step % passes == 0 else []
    weight = here[:, :-1]
    return weight, here[:, -1] - weight @ mean, np.array(losses)


def relative_difference(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """The largest difference over the largest magnitude of `theirs`."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max(initial=0) / max(np.abs(theirs).max(initial=0), 1e-30))
