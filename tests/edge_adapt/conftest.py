"""Fixtures of meta-training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from torch import Tensor

    from edge_adapt.networks.learner import MetaLearner
    from edge_adapt.runtime.data.dataset import ImageDataset
    from edge_adapt.training.checkpoint import Checkpoint
    from edge_adapt.training.compute import Execution
    from edge_adapt.training.config import TrainingConfig


@pytest.fixture
def brief(training_data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Checkpoint]:
    """Train, writing a checkpoint after each outer step."""
    from edge_adapt.training import trainer
    from tests.training_runs import train

    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1)

    def start(config: TrainingConfig, run: str = "run", **options: Any) -> Checkpoint:
        return train(
            training_data, tmp_path / run, config, **{"device": "cpu", "micro_batch": 1, "bf16": False, **options}
        )

    return start


@pytest.fixture
def validated(brief: Callable[..., Checkpoint], new_classes: ImageDataset) -> Callable[..., Checkpoint]:
    """`brief`, of a small backbone and with validation classes."""
    import torch

    from tests.training_runs import Small

    def start(config: TrainingConfig, run: str = "run", **options: Any) -> Checkpoint:
        torch.manual_seed(3)
        return brief(config, run, **{"validation": new_classes, "backbone": Small(), **options})

    return start


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], list[dict[str, Tensor]]]:
    """Have validations give these accuracies; the list that comes back fills with the states that were measured."""
    from edge_adapt.training.validation import Validation

    def play(accuracies: Sequence[float]) -> list[dict[str, Tensor]]:
        states: list[dict[str, Tensor]] = []

        def accuracy(self: Validation, learner: MetaLearner, execution: Execution) -> float:
            states.append({name: tensor.clone() for name, tensor in learner.state_dict().items()})
            return accuracies[len(states) - 1]

        monkeypatch.setattr(Validation, "accuracy", accuracy)
        return states

    return play
