"""The temperature that makes confidence hold: Guo et al., "On calibration of modern neural networks", ICML 2017.

The shots that are left out give a likelihood, and meta-training a prior, without which a few shots that all are right would make
every answer certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle.classifier_json import LEAST_TEMPERATURE, MOST_TEMPERATURE

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from edge_adapt.runtime.bundle.card import Priors
    from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut

_PRIOR_DEVIATION = 0.3  # of the logarithm of the temperature
_CANDIDATES = np.exp(np.linspace(np.log(LEAST_TEMPERATURE), np.log(MOST_TEMPERATURE), 121))


def temperature(left_out: LeaveOneOut, n_shot: float, between: float, priors: Priors) -> float:
    """What to divide logits by.

    Args:
        left_out: the logits of shots without which the model was adapted; none or more.
        n_shot: shots of a class, on average.
        between: the mean cosine between classes; where they are alike, one shot says less.
        priors: what meta-training gives.
    """
    expected = float(prior_temperature(n_shot, between, priors.temperature, priors.temperature_of_one_shot))
    if not len(left_out.folds):
        return expected
    loss = negative_log_likelihood(left_out.logits, left_out.labels, _CANDIDATES).sum(axis=1)
    loss += (np.log(_CANDIDATES / expected) / _PRIOR_DEVIATION) ** 2 / 2
    return float(_CANDIDATES[loss.argmin()])


def prior_temperature(
    n_shot: float, between: float, logarithm: ArrayLike, of_one_shot: ArrayLike
) -> NDArray[np.float64]:
    """The temperature before any shot is left out, from the two numbers of the priors, or from many of each."""
    unbounded = np.exp(np.asarray(logarithm) + np.asarray(of_one_shot) / n_shot) / max(1 - between, 0.05)
    return np.clip(unbounded, LEAST_TEMPERATURE, MOST_TEMPERATURE)


def negative_log_likelihood(
    logits: NDArray[np.floating], labels: NDArray[np.int64], temperatures: NDArray[np.float64]
) -> NDArray[np.float64]:
    """In nats, of labels [B] under logits [B, N] divided by each of the temperatures [T]: float64 [T, B]."""
    scaled = (logits - logits.max(axis=1, keepdims=True)).astype(np.float64)[None] / temperatures[:, None, None]
    return np.asarray(np.log(np.exp(scaled).sum(axis=2)) - scaled[:, np.arange(len(labels)), labels], np.float64)
