"""What a classifier says of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of an image.

    Attributes:
        label: the most probable class, of unknown images too.
        confidence: its probability, 0 to 1, as it is where the image is of one of the classes.
        scores: the probability of every class, the most probable first; they add up to 1.
        known: whether the image looks like one of the classes.
        familiarity: the share of images of the classes that look less like one, 0 to 1; an image is known from the share on that
            may be refused. None where it was not asked for, or the model has no priors.
    """

    label: str
    confidence: float
    scores: Mapping[str, float]
    known: bool = True
    familiarity: float | None = None


def probabilities(labels: Sequence[str], logits: NDArray[np.float64], temperature: float) -> dict[str, float]:
    """The probability of every class, the most probable first: the softmax of logits [N] divided by the temperature."""
    exponentials = np.exp((logits - logits.max()) / temperature)
    shares = exponentials / exponentials.sum()
    return {labels[index]: float(shares[index]) for index in np.argsort(-shares, kind="stable")}
