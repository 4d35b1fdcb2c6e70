"""How much of a run's budget is spent, and what is due along the way."""

from __future__ import annotations

from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.validation import out_of_patience


def is_due(times: int, before: float, now: float) -> bool:
    """Whether, of `times` evenly spaced moments of a run, one lies after `before` and not after `now`; the last always."""
    return now >= 1 or int(now * times + 1e-9) > int(before * times + 1e-9)


def spent_of(config: TrainingConfig, iteration: int, seconds: float) -> float:
    """How much of the budget is spent, 0 to 1."""
    if config.iterations is not None:
        return min(1.0, iteration / config.iterations)
    return min(1.0, seconds / (60 * (config.minutes or 0)))


def is_finished(checkpoint: Checkpoint) -> bool:
    """Whether a run has spent its budget, or has stopped early."""
    return spent_of(checkpoint.config, checkpoint.iteration, checkpoint.seconds) >= 1 or stopped_early(checkpoint)


def stopped_early(checkpoint: Checkpoint) -> bool:
    """Whether a run has run out of patience before its budget was spent."""
    spent = spent_of(checkpoint.config, checkpoint.iteration, checkpoint.seconds)
    return spent < 1 and out_of_patience(checkpoint.config.patience, checkpoint.records)
