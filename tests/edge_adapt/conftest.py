"""Fixtures of meta-training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from edge_adapt.configuration import TrainingConfig
    from edge_adapt.run import Checkpoint
    from edge_adapt.runtime.dataset import ImageDataset


@pytest.fixture
def brief(training_data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Checkpoint]:
    """Train without drawing a curve, writing a checkpoint after each outer step."""
    from edge_adapt import curve, training

    monkeypatch.setattr(curve, "draw", lambda records: b"")
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)

    def start(config: TrainingConfig, run: str = "run", **options: Any) -> Checkpoint:
        return training.train(
            training_data, tmp_path / run, config, **{"device": "cpu", "piece": 1, "bf16": False, **options}
        )

    return start
