"""Adapting to values: what is read from each shot when it is left out, and what that says of new photos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle.bundle import ReadingErrors
from edge_adapt.runtime.classifier.leave_one_out import MAX_FOLDS
from edge_adapt.runtime.images.looks import LOOKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_adapt.runtime.contract import HeadState
    from edge_adapt.runtime.graphs import Graphs

COVERED = 0.9
"""The share of new photos whose values are to lie within their intervals."""


def adapt_to_values(
    graphs: Graphs, features: NDArray[np.float32], targets: NDArray[np.float32], steps: int
) -> tuple[HeadState, NDArray[np.float32]]:
    """The head state and the loss before each step, of M shots [M, (LOOKS + 1) PARTS D] and what they read [M, T]."""
    rows = features.reshape(len(features) * (LOOKS + 1), -1)
    return graphs.adapt(rows, np.repeat(targets, LOOKS + 1, axis=0), None, steps)


def values_left_out(
    graphs: Graphs, features: NDArray[np.float32], targets: NDArray[np.float32], steps: int, most: int = MAX_FOLDS
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Adapt without one shot, read its values, and so on through the support set.

    Args:
        graphs: of a model of regression.
        features, targets, steps: as of `adapt_to_values`, M of two or more.
        most: shots that are left out at most; of more every k-th is.

    Returns:
        which shots were left out, int64 [F], and what was read from them, float32 [F, T].
    """
    folds = np.arange(0, len(features), -(-len(features) // most))
    values = np.empty((len(folds), targets.shape[1]), np.float32)
    for row, shot in zip(values, folds, strict=True):
        rest = np.delete(features, shot, axis=0), np.delete(targets, shot, axis=0)
        state, _ = adapt_to_values(graphs, *rest, steps)
        row[:] = graphs.predict(features[shot].reshape(LOOKS + 1, -1)[:1], state)[0]
    return folds, values


def errors_of(missed: NDArray[np.float32]) -> ReadingErrors:
    """Mean error and bound from how far each of F shots was missed when it was left out, [F, T].

    The bound is the jackknife's: that of the errors in order which is the ceil(COVERED (F + 1))-th, or the largest where there
    are fewer (Barber, Candes, Ramdas and Tibshirani, "Predictive inference with the jackknife+", Annals of Statistics 2021,
    equation 1.2). Nine shots are the fewest of which it promises `COVERED`.
    """
    sizes = np.sort(np.abs(missed.astype(np.float64)), axis=0)
    place = min(int(np.ceil(COVERED * (len(sizes) + 1))), len(sizes)) - 1
    return ReadingErrors(tuple(sizes.mean(axis=0).tolist()), tuple(sizes[place].tolist()))
