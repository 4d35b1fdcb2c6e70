"""What a training run says of its model: the card that its bundle will carry, without what export adds."""

from __future__ import annotations

import os
from pathlib import Path

from edge_adapt.runtime.bundle.card import ModelCard
from edge_adapt.training.checkpoint import Checkpoint


def card_of_run(run: str | os.PathLike[str], checkpoint: Checkpoint, all_layers: bool = False) -> ModelCard:
    """The card of the model that a run exports, named as its folder; or of one that adapts all layers, as in meta-training."""
    config = checkpoint.config
    return ModelCard(
        name=Path(run).resolve().name,
        method=config.method.name,
        preprocessing=config.preprocessing,
        default_steps=config.method.inner_steps,
        # An inner loop on all layers adapts to images, and the mean of two images is none.
        support_views=() if all_layers else config.support_views,
        trained_on=checkpoint.trained_on,
    )
