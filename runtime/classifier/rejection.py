"""None of these: how much an image looks like one of a classifier's classes, told from its support set.

An image is as familiar as two things say together: the cosine to the nearest prototype, and how far the largest logit is above
the mean of the logits. Either alone fails somewhere: the logits do not see what is unlike all classes, and the cosine counts what
the classes do not differ in. The cosine counts from what shots of different classes have in common, so that classes that are
alike as a whole (coins, drawings) give the same numbers as others. Where there are photos of no class, an image is the less
familiar the more it looks like one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_adapt.runtime.bundle.card import Priors
    from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut

UNKNOWN_AT = 0.05
"""The share of images of the classes that may be refused, where nothing else is said."""

_COMMON = 0.85  # of the mean cosine between classes, how much is taken for what all classes have in common
_LOGIT_SHARE = 0.25  # of the logits beside the cosine, with many shots; of a single one they say what the cosine says
_OTHER_SHARE = 0.35  # of the cosine to the nearest photo of no class, where there are any
# Shots that a prior counts for. Photos of one class are often taken in a row, and then speak for more than queries will keep.
_PRIOR_SHOTS = 25


class Weights(NamedTuple):
    """What a score is a sum of.

    Attributes:
        common: the cosine that counts for nothing.
        prototype: of the largest cosine to a prototype, above the common one.
        logit: of the largest logit, above the mean of the logits.
        other: of the largest cosine to a photo of no class, above the common one; it is taken off.
    """

    common: float
    prototype: float
    logit: float
    other: float


@dataclass(frozen=True, eq=False)
class Likeness:
    """Scores images by how much they look like one of the classes.

    Attributes:
        prototypes: the mean of the shots of each class, each shot brought to length 1; float64 [N, D]. It is divided by the
            length that it would have with as many shots as the classes have on average, so that a class with few is not unlike.
        lengths: those, float64 [N].
        between: the mean cosine between shots of different classes.
        n_shot: shots of a class, on average.
        own_logit: how far the logit of a shot's own class is above the mean of its logits, on average.
        others: the photos of no class, each brought to length 1; float64 [Q, D].
    """

    prototypes: NDArray[np.float64]
    lengths: NDArray[np.float64]
    between: float
    n_shot: float
    own_logit: float
    others: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        own_logit: float,
        others: NDArray[np.float32] | None = None,
    ) -> Likeness:
        """That of a support set, features [M, D] and labels [M], and photos of no class, features [Q, D] or None for none."""
        counts = np.bincount(labels)
        means = np.zeros((len(counts), features.shape[1]))
        np.add.at(means, labels, _unit(features))
        means /= counts[:, None]
        squares = (means**2).sum(axis=1)
        within = (counts * squares - 1) / np.maximum(counts - 1, 1)  # the mean cosine between shots of the class
        alone = counts == 1
        within[alone] = within[~alone].mean() if not alone.all() else 1
        n_shot = float(counts.mean())
        lengths = np.sqrt(np.maximum(within + (1 - within) / n_shot, 1e-12))
        of_none = _unit(features[:0] if others is None else others)
        return cls(means / lengths[:, None], lengths, _between_classes(means), n_shot, own_logit, of_none)

    def scores(self, features: NDArray[np.float32], logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of images, features [B, D] and logits [B, N]: float64 [B], higher where they look more like a class."""
        return self._scores(_unit(features) @ self.prototypes.T, logits) - self.strangeness(features)

    def left_out_scores(
        self, features: NDArray[np.float32], labels: NDArray[np.int64], left_out: LeaveOneOut
    ) -> NDArray[np.float64]:
        """Of the shots of its support set, each as if it were not one of them: float64 [F]."""
        unit, own = _unit(features[left_out.folds]), left_out.labels
        cosines = unit @ self.prototypes.T
        counts, rows = np.bincount(labels)[own], np.arange(len(own))
        lengths = self.lengths[own]
        cosines[rows, own] = (cosines[rows, own] * lengths * counts - (unit**2).sum(axis=1)) / (counts - 1) / lengths
        return self._scores(cosines, left_out.logits) - self.strangeness(features[left_out.folds])

    def strangeness(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What images score less for looking like a photo of no class, features [B, D]: float64 [B], 0 where there is none."""
        if not len(self.others):
            return np.zeros(len(features))
        nearest = (_unit(features) @ self.others.T).max(axis=1)
        return np.asarray(self.weights.other * (nearest - self.weights.common), np.float64)

    @cached_property
    def weights(self) -> Weights:
        """What cosines and logits count for."""
        common = _COMMON * self.between
        logit = _LOGIT_SHARE * (1 - 1 / self.n_shot) / self.own_logit if self.own_logit > 0 else 0.0
        return Weights(common, 1 / (1 - common), logit, _OTHER_SHARE / (1 - common))

    def _scores(self, cosines: NDArray[np.float64], logits: NDArray[np.floating]) -> NDArray[np.float64]:
        nearest = cosines.max(axis=1) - self.weights.common
        above = logits.max(axis=1) - logits.mean(axis=1, dtype=np.float64)
        return np.asarray(self.weights.prototype * nearest + self.weights.logit * above, np.float64)


def own_logit(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """How far the logit of its own class is above the mean of a shot's logits, on average; logits [M, N], labels [M]."""
    own = logits[np.arange(len(labels)), labels] - logits.mean(axis=1, dtype=np.float64)
    return max(float(own.mean()), 0.0)


def _between_classes(means: NDArray[np.float64]) -> float:
    """The mean cosine between shots of different classes, from the means [N, D] of shots of length 1."""
    n_way = len(means)
    return float(((means.sum(axis=0) ** 2).sum() - (means**2).sum()) / (n_way * (n_way - 1)))


def known_scores(
    scores: NDArray[np.float64], n_shot: float, priors: Priors, strangeness: float = 0
) -> tuple[float, float]:
    """The mean and standard deviation to expect of images of the classes.

    Args:
        scores: of shots that were left out, float64 [F], none or more; the prior counts for `_PRIOR_SHOTS` beside them.
        n_shot: shots of a class, on average.
        priors: what meta-training gives, where there are no photos of no class.
        strangeness: of shots, on average.
    """
    mean, variance = priors.score + priors.score_of_one_shot / n_shot - strangeness, priors.score_spread**2
    total = len(scores) + _PRIOR_SHOTS
    if len(scores):
        mean = (float(scores.sum()) + _PRIOR_SHOTS * mean) / total
        variance = (len(scores) * float(scores.var()) + _PRIOR_SHOTS * variance) / total
    return mean, variance**0.5


def familiarity(score: float, mean: float, spread: float) -> float:
    """The share of images of the classes that score less, 0 to 1, taken for a logistic distribution."""
    return float(1 / (1 + np.exp(-np.clip((score - mean) / logistic_scale(spread), -700, 700))))


def logistic_scale(spread: float) -> float:
    """The scale of a logistic distribution with this standard deviation."""
    return float(max(3**0.5 / np.pi * spread, 1e-9))


def _unit(features: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = features.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), np.float64)
