"""What a training run says of its model: the card that its bundle will carry, without what export adds."""

from __future__ import annotations

import os
from pathlib import Path

from edge_adapt.runtime.bundle.card import ModelCard
from edge_adapt.training.checkpoint import Checkpoint


def card_of_run(run: str | os.PathLike[str], checkpoint: Checkpoint) -> ModelCard:
    """The card of the model that a run exports, named as its folder."""
    config = checkpoint.config
    return ModelCard(
        name=Path(run).resolve().name,
        method=config.method.name,
        preprocessing=config.preprocessing,
        default_steps=config.method.inner_steps,
        support_views=config.support_views,
        trained_on=checkpoint.trained_on,
    )
