"""The gradient head once more, in NumPy and float64: what the other implementations are compared with.

It follows from the loss alone, and shares no formula with them: the loss of the support set is the cross-entropy, averaged within
each class and then over the classes, and its gradient is written out per image in a plain loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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


def adapt(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    n_way: int,
    steps: int,
    *,
    scale: float | None,
    rates: Sequence[float],
    bias_rate: float,
) -> tuple[Array, Array, Array]:
    """Weight [N, D] and bias [N] after `steps` steps of gradient descent, and the loss before each [steps].

    Args:
        features: support features [M, D].
        labels: [M] in 0..n_way-1.
        n_way: N.
        steps: how many; those beyond `rates` reuse its last.
        scale: of the prototypes that the weights start from; None starts from zero.
        rates: the learning rate of each step, in units of `rate_unit`.
        bias_rate: the bias's rate as a multiple of the weights'.
    """
    features = np.asarray(features, np.float64)
    if scale is None:
        weight, bias = np.zeros((n_way, features.shape[1])), np.zeros(n_way)
    else:
        weight, bias = prototype_start(features, labels, n_way, scale)
    losses = []
    for step in range(steps):
        weight_gradient, bias_gradient, loss = np.zeros_like(weight), np.zeros_like(bias), 0.0
        for feature, label in zip(features, labels, strict=True):
            shots = int((labels == label).sum())
            log_probabilities = log_softmax(weight @ feature + bias)
            loss -= log_probabilities[label] / shots / n_way
            error = (np.exp(log_probabilities) - np.eye(n_way)[label]) / shots / n_way
            weight_gradient += np.outer(error, feature)
            bias_gradient += error
        rate = rates[min(step, len(rates) - 1)] * rate_unit(features, labels, n_way, bias_rate)
        weight, bias = weight - rate * weight_gradient, bias - rate * bias_rate * bias_gradient
        losses.append(loss)
    return weight, bias, np.array(losses)


def relative_difference(ours: NDArray[np.floating], theirs: NDArray[np.floating]) -> float:
    """The largest difference over the largest magnitude of `theirs`."""
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max(initial=0) / max(np.abs(theirs).max(initial=0), 1e-30))
