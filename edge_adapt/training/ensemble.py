"""Several finished runs as one to start from, with their backbones side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from edge_adapt.networks.backbones.ensemble import BETWEEN
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint

_BACKBONE, _MEAN, _STD = "embedding.backbone.", "embedding.mean", "embedding.std"


def join(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The backbones of several runs side by side, as a checkpoint to start from.

    Its features are to be centred anew, and its head to be learned: it holds none of either. Settings are those of the first run,
    augmented and centred where all are. A single one is returned as it is.

    Args:
        checkpoints: ends of runs, the best first.

    Raises:
        EdgeAdaptError: they see images of other sizes or colours, or one has a backbone without a name or several already.
    """
    first = checkpoints[0]
    if len(checkpoints) == 1:
        return first
    configs = [checkpoint.config for checkpoint in checkpoints]
    if len({config.preprocessing for config in configs}) > 1:
        seen = ", ".join(
            f"{config.image_size} pixels {'grey' if config.grayscale else 'RGB'}"
            + (f" of the central {config.part:g}" if config.part < 1 else "")
            for config in configs
        )
        raise EdgeAdaptError(f"the runs to start from see other images ({seen}); take runs that see the same.")
    for config in configs:
        if config.backbone == "custom" or BETWEEN in config.backbone:
            raise EdgeAdaptError(
                f"one of the runs to start from has the backbone {config.backbone!r}; several are joined of runs with a backbone "
                "known by name."
            )
    states = [checkpoint.exported.learner for checkpoint in checkpoints]
    mean, std = states[0][_MEAN], states[0][_STD]
    joined: dict[str, Tensor] = {_MEAN: mean, _STD: std}
    for number, state in enumerate(states):
        joined |= {
            f"{_BACKBONE}members.{number}.{name.removeprefix(_BACKBONE)}": tensor
            for name, tensor in state.items()
            if name.startswith(_BACKBONE)
        }
    pixels = {  # from (x - mean) / std, as the first sees them, to (x - own mean) / own std
        "scale": [std / state[_STD] for state in states[1:]],
        "shift": [(mean - state[_MEAN]) / state[_STD] for state in states[1:]],
    }
    joined |= {f"{_BACKBONE}{name}": torch.stack(values)[..., None, None] for name, values in pixels.items()}
    config = replace(
        first.config,
        backbone=BETWEEN.join(config.backbone for config in configs),
        pretrained=False,
        augment=all(config.augment for config in configs),
        centred=all(config.centred for config in configs),
    )
    return replace(first, config=config, learner=joined, best=None, objective={}, optimizer={})
