"""The accuracy to expect of a classifier, from the shots that it has right when they are left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut

ENOUGH_SHOTS = 5
"""Shots of a class, below which more are what helps most."""

_ERRORS_WITH_TWICE = 0.75  # of the errors, how many are left with twice the shots
_LEAST_TO_DOUBLE = 3  # shots of a class, below which the estimate itself is too low to go on from
_SHOTS_OF_ONE = 1.5  # shots that are left out, for one that were independent: each is learned from in all other folds


@dataclass(frozen=True)
class Estimate:
    """What accuracy to expect.

    Attributes:
        accuracy: 0 to 1. An image is asked about with one shot more than were left when a shot was left out, and the errors are
            taken for fewer by as much: of K shots a class, K / (K + 1) of them.
        interval: where it is in about 95 of 100 adaptations, 0 to 1.
        right, left_out: shots that were right, and shots that were left out.
        uncovered: the classes with a single shot, which say nothing of themselves.
        with_twice: the accuracy to expect with twice the shots, 0 to 1; None where a class has fewer than three on average. Of
            the errors three quarters are left then, whatever the classes are: what smaller parts of a support set say of its
            own learning curve is no nearer to what twice the shots really give (docs/benchmarks.md).
    """

    accuracy: float
    interval: tuple[float, float]
    right: int
    left_out: int
    uncovered: tuple[str, ...]
    with_twice: float | None


def estimate(left_out: LeaveOneOut, counts: Mapping[str, int]) -> Estimate | None:
    """The estimate from the answers to shots, and the shots of each class; None where no shot could be left out."""
    total = len(left_out.folds)
    if not total:
        return None
    right = int(left_out.right.sum())
    n_shot = sum(counts.values()) / len(counts)
    accuracy = 1 - (1 - right / total) * n_shot / (n_shot + 1)
    independent = total / _SHOTS_OF_ONE
    uncovered = tuple(label for label, count in counts.items() if count == 1)
    interval = wilson_interval(accuracy * independent, independent)
    with_twice = 1 - (1 - accuracy) * _ERRORS_WITH_TWICE if n_shot >= _LEAST_TO_DOUBLE else None
    return Estimate(accuracy, interval, right, total, uncovered, with_twice)


def advice(counts: Mapping[str, int], most: int = 3) -> dict[str, int]:
    """The classes with the fewest shots, fewer than `ENOUGH_SHOTS`, and how many photos to add to each."""
    few = sorted((count, label) for label, count in counts.items() if count < ENOUGH_SHOTS)
    return {label: ENOUGH_SHOTS - count for count, label in few[:most]}


def wilson_interval(right: float, total: float) -> tuple[float, float]:
    """The 95% confidence interval of a share (Wilson 1927), which holds for few images and near 0 and 1 too."""
    share, z = right / total, 1.96
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
