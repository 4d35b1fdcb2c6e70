"""Readings that do not fit the others."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.classifier.check import Finding
from edge_adapt.runtime.regressor.left_out import values_left_out
from edge_adapt.runtime.regressor.regressor import LEAST_READINGS, Regressor

if TYPE_CHECKING:
    from numpy.typing import NDArray

LIKELIEST = 3
"""Photos that are tried: those that are missed by most when they are left out."""

BETTER, FARTHER = 1.1, 2.0
"""A value does not fit where the others are missed by so many times less without it, and it by so many times more than they: in
the root of the mean square. Of 40 sets of ten photos of a gauge (`benchmarks/gauge.py`) this finds 26 of 40 wrong values, and
names a photo in one of them where all are right; how far a photo is missed beside the median of all finds 20, and names one in
13: the first and the last on a scale are missed by most, as there is none beyond."""


def check_readings(regressor: Regressor) -> list[Finding]:
    """The photos whose values do not fit those of the others, the worst first.

    Each is read by what is adapted without it. A wrong value also draws the answers to its neighbours, so the one without which
    the others are read best is set aside, and the others are judged without it, as long as one does not fit and half of the
    photos are left.
    """
    support = regressor.support
    left = np.arange(len(support.images))
    folds, missed = _missed(regressor, left)
    findings: list[Finding] = []
    while len(left) > max(LEAST_READINGS, len(support.images) / 2):
        tried = []
        without = cache(partial(_without, regressor, left, folds))  # of several values, one photo may be likeliest
        for value, sizes in enumerate(np.abs(missed).T):
            for fold in np.argsort(-sizes, kind="stable")[:LIKELIEST].tolist():
                rest, after = without(fold)
                before = np.delete(missed[:, value], fold)
                others = max(_size(after[1][:, value]), 1e-12)
                if _size(before) >= BETTER * others and sizes[fold] >= FARTHER * others:
                    tried.append((_size(before) / others, fold, value, rest, after))
        if not tried:
            break
        _, fold, value, rest, after = max(tried, key=lambda one: one[0])
        image, name = support.images[left[folds[fold]]], regressor.names[value]
        read = image.values[value] + missed[fold, value]
        text = (
            f"{image.name or image.sha256[:8]} is said to read {image.values[value]:.4g} {name} and looks like {read:.4g}; "
            "correct it or take another photo"
        )
        findings.append(Finding("does not fit", text, (name,), (image.name,)))
        left, (folds, missed) = rest, after
    return findings


def _without(
    regressor: Regressor, left: NDArray[np.int64], folds: NDArray[np.int64], fold: int
) -> tuple[NDArray[np.int64], tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """The shots without that of a fold, and what `_missed` gives of them."""
    rest = np.delete(left, folds[fold])
    return rest, _missed(regressor, rest)


def _missed(regressor: Regressor, shots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of the shots were left out, and by how much the values of each were missed, [F, T], where these shots are all."""
    support = regressor.support
    if len(shots) == len(support.images):
        folds, values = regressor.left_out
    else:
        folds, values = values_left_out(
            regressor.graphs, support.features[shots], support.targets[shots], regressor.steps
        )
    return folds, values.astype(np.float64) - support.targets[shots][folds]


def _size(missed: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(missed**2)))
