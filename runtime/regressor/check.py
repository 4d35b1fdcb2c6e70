"""Readings that do not fit the others."""

from __future__ import annotations

import numpy as np

from edge_adapt.runtime.classifier.check import Finding
from edge_adapt.runtime.regressor.left_out import values_left_out
from edge_adapt.runtime.regressor.regressor import LEAST_READINGS, Regressor

ODD = 3.0
"""Robust deviations from which on a reading does not fit. Iglewicz and Hoaglin ("How to detect and handle outliers", 1993) take
3.5, which hardly any wrong value of ten exceeds, as all errors are larger where neighbours are far."""

_OF_MEDIAN = 1.4826  # from the median of absolute errors to the deviation of normal ones


def check_readings(regressor: Regressor) -> list[Finding]:
    """The photos whose values do not fit those of the others, the worst first.

    Each is read by what is adapted without it. A wrong value also draws the answers to its neighbours, so the worst is set
    aside, and the others are judged without it, as long as one does not fit and half of the photos are left.
    """
    support, names = regressor.support, regressor.names
    left = np.arange(len(support.images))
    findings: list[Finding] = []
    while len(left) > max(LEAST_READINGS, len(support.images) / 2):
        features, targets = support.features[left], support.targets[left]
        if findings:
            folds, values = values_left_out(regressor.graphs, features, targets, regressor.steps)
        else:
            folds, values = regressor.left_out
        missed = np.abs(values - targets[folds])
        oddness = missed / np.maximum(_OF_MEDIAN * np.median(missed, axis=0), 1e-12)
        fold, value = np.unravel_index(int(oddness.argmax()), oddness.shape)
        if oddness[fold, value] <= ODD:
            break
        image = support.images[left[folds[fold]]]
        shown = image.name or image.sha256[:8]
        text = (
            f"{shown} is said to read {image.values[value]:.4g} {names[value]} and looks like {values[fold, value]:.4g}; "
            "correct it or take another photo"
        )
        findings.append(Finding("does not fit", text, (names[value],), (image.name,)))
        left = np.delete(left, folds[fold])
    return findings
