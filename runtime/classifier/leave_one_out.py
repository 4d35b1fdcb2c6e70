"""The accuracy to expect of a classifier, estimated from its own support set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_adapt.runtime.contract import EpisodeModel

MAX_FOLDS = 100
"""Shots that the leave-one-out estimate leaves out at most; more are sampled evenly."""


def leave_one_out(
    model: EpisodeModel, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
) -> float | None:
    """The accuracy to expect: adapt without one shot, classify it, and so on through the support set.

    A shot that is left out has the features that it has as a shot, in views where the model takes them.

    Returns:
        the share of right answers over `folds`, 0 to 1; None where there is no fold.
    """
    answers = left_out_logits(model, features, labels, n_way, steps).argmax(axis=1)
    return float((answers == labels[folds(labels)]).mean()) if len(answers) else None


def left_out_logits(
    model: EpisodeModel, features: NDArray[np.float32], labels: NDArray[np.int64], n_way: int, steps: int
) -> NDArray[np.float32]:
    """The logits of each of `folds`, float32 [F, n_way], by what was adapted without it."""
    logits = np.empty((len(folds(labels)), n_way), np.float32)
    for row, left_out in zip(logits, folds(labels), strict=True):
        state, _ = model.adapt(np.delete(features, left_out, axis=0), np.delete(labels, left_out), n_way, steps)
        row[:] = model.predict(features[left_out : left_out + 1], state)[0]
    return logits


def folds(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The shots that `leave_one_out` leaves out, as indices into the support set.

    A class with a single shot cannot spare it and is passed over. Above `MAX_FOLDS` shots, every k-th is left out.
    """
    candidates = np.flatnonzero(np.bincount(labels)[labels] > 1)
    return candidates[:: -(-len(candidates) // MAX_FOLDS) or 1]
