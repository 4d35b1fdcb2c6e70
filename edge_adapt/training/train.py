"""Training as it is called: of a configuration, or of a recipe of several."""

from __future__ import annotations

import os

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.training import distributed
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.compute import Compute
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.recipes import ChosenRecipe
from edge_adapt.training.stage import train_stage
from edge_adapt.training.stages import train_stages
from edge_adapt.training.start import Reading, Start


@distributed.joined()
def train(
    data: ImageDataset,
    run: str | os.PathLike[str],
    config: TrainingConfig | ChosenRecipe | None = None,
    *,
    validation: ImageDataset | None = None,
    start: Start | None = None,
    compute: Compute | None = None,
    reading: Reading | None = None,
) -> Checkpoint:
    """Meta-train a model and leave it in the folder `run`.

    With a budget in iterations, on a CPU with the same number of threads, a run that was interrupted and resumed gives the very
    weights of one that was not: what an outer step draws follows from its number; see `edge_adapt.training.outer_step`. So the
    processes that `torchrun` starts, of which each calls this function, give the weights of one process up to the rounding of
    sums.

    Args:
        data: the training classes.
        run: the folder to write; see `edge_adapt.training.run`.
        config: what to train; None takes `TrainingConfig()`. Episodes of a recipe that the training classes do not suffice for
            become smaller.
        validation: classes to measure on along the way: where the accuracy on them is best is what exports, unless the method
            ends at its best (`Method.keeps_best`). A run that is resumed needs the same.
        start: what it begins with, or goes on from; None begins anew.
        compute: where and how it is computed; None takes what is fastest.
        reading: where features are kept, and whether bars show.

    Returns:
        The end of the run; of a recipe, that of its last stage.

    Raises:
        DataError: the classes or images do not suffice for the episodes; of a recipe, before anything is trained.
        EdgeAdaptError: `run` holds another run, the configuration does not fit, `head-only` has no weights to start from, the
            loss is no longer finite, memory does not suffice for a single episode, or another process ended.
    """
    groups = start or Start(), compute or Compute(), reading or Reading()
    if isinstance(config, ChosenRecipe):
        return train_stages(data, run, config, validation, *groups)
    return train_stage(data, run, config or TrainingConfig(), validation, *groups)
