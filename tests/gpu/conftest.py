"""What the tests of a GPU share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge_adapt.runtime.data.dataset import ImageDataset

if TYPE_CHECKING:
    from edge_adapt.training.checkpoint import Checkpoint
    from edge_adapt.training.config import TrainingConfig


@pytest.fixture(autouse=True)
def cuda(request: pytest.FixtureRequest) -> None:
    """Skip where there is no device."""
    torch = pytest.importorskip("torch")
    if request.node.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device; -p tests.gpu.pretend pretends one")


@pytest.fixture
def brief(training_data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Checkpoint]:
    """Train on the GPU, writing a checkpoint after each outer step."""
    from edge_adapt.training import trainer
    from tests.training_runs import train

    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", -1)

    def start(config: TrainingConfig, run: str = "run", **options: Any) -> Checkpoint:
        return train(options.pop("data", training_data), tmp_path / run, config, **{"device": "cuda", **options})

    return start
