"""What a model says of each shot when it is adapted without it: the ground of all that a classifier knows about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_adapt.runtime.contract import EpisodeModel

MAX_FOLDS = 100
"""Shots that are left out at most; more are sampled evenly."""


@dataclass(frozen=True, eq=False)
class LeaveOneOut:
    """The answers to F shots, each by what was adapted without it.

    Attributes:
        folds: which shots were left out, indices into the support set, int64 [F].
        labels: their classes, int64 [F].
        logits: float32 [F, N].
    """

    folds: NDArray[np.int64]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each answer is right, bool [F]."""
        return np.asarray(self.logits.argmax(axis=1) == self.labels)

    @property
    def accuracy(self) -> float | None:
        """The accuracy to expect, 0 to 1: the share of right answers; None where there is no fold."""
        return float(self.right.mean()) if len(self.folds) else None

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """Of the right classes, float64 [F], in nats."""
        shifted = self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True)
        return np.asarray(
            shifted[np.arange(len(self.labels)), self.labels] - np.log(np.exp(shifted).sum(axis=1)), np.float64
        )


def leave_one_out(
    model: EpisodeModel,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_way: int,
    steps: int,
    most: int = MAX_FOLDS,
) -> LeaveOneOut:
    """Adapt without one shot, classify it, and so on through the support set.

    A shot that is left out has the features that it has as a shot, in views where the model takes them. A class with a single
    shot cannot spare it and is passed over.

    Args:
        model: what adapts.
        features, labels, n_way, steps: as its `adapt` takes them.
        most: folds at most; of more shots every k-th is left out.
    """
    left_out = folds(labels, most)
    logits = np.empty((len(left_out), n_way), np.float32)
    for row, shot in zip(logits, left_out, strict=True):
        state, _ = model.adapt(np.delete(features, shot, axis=0), np.delete(labels, shot), n_way, steps)
        row[:] = model.predict(features[shot : shot + 1], state)[0]
    return LeaveOneOut(left_out, labels[left_out], logits)


def folds(labels: NDArray[np.int64], most: int = MAX_FOLDS) -> NDArray[np.int64]:
    """The shots that `leave_one_out` leaves out, as indices into the support set with these classes, int64 [M]."""
    candidates = np.flatnonzero(np.bincount(labels)[labels] > 1)
    return candidates[:: -(-len(candidates) // most) or 1]
