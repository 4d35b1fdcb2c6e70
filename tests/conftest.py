"""What several test files share. Nothing here imports PyTorch before a test asks for it."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime.data.dataset import ImageDataset
from tests.gratings import gratings

if TYPE_CHECKING:
    from edge_adapt.training.config import TrainingConfig

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
"""Threads of PyTorch's that wait do not keep a core busy, for a test beside this one may need it; read as PyTorch is loaded."""

TINY = Path(__file__).parent / "data" / "tiny.edge"
"""A bundle of a few kilobytes that needs no PyTorch to run; `tests/data/make_tiny.py` makes it."""

BRIEF = {
    "training.validation.LEAST_EPISODES": 20,
    "training.validation.MOST_EPISODES": 20,
    "methods.head_only.DRAWS": 5,
    "export.gates.parity.EPISODES": 20,
    "export.gates.precision.EPISODES": 20,
    "export.priors.EPISODES": 24,
    "training.curve.draw": lambda checkpoint: b"",
}


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are not worth waking threads for, and sums in one thread are the same on every machine."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def brief_measurements() -> Iterator[None]:
    """Measurements of few episodes and no picture at each checkpoint, which take longer than these runs."""
    if "torch" not in sys.modules:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in BRIEF.items():
            patch.setattr(f"edge_adapt.{name}", value)
        yield


@pytest.fixture(scope="session", autouse=True)
def operators_are_listed_once() -> Iterator[None]:
    """PyTorch's exporter parses the source of all its operators anew for each graph, which takes longer than the graph."""
    if "torch" not in sys.modules:
        yield
        return
    operators = pytest.importorskip("onnxscript._framework_apis.torch_2_11")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operators, "get_torchlib_ops", functools.cache(operators.get_torchlib_ops))
        yield


@pytest.fixture(scope="session")
def training_data() -> ImageDataset:
    """16 classes of 10 images, gray, 28x28."""
    return gratings(16, 10)


@pytest.fixture(scope="session")
def new_classes() -> ImageDataset:
    """8 classes of 16 images at angles that are not in `training_data`."""
    return gratings(8, 16, seed=1, turn=0.5)


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., TrainingConfig]:
    """A configuration of seconds, with any of its fields and of its method's changed; None takes what the method says."""
    from edge_adapt.training.config import TrainingConfig

    def configure(**changes: object) -> TrainingConfig:
        values: dict[str, object] = {
            "grayscale": True,
            "n_way": 5,
            "n_query": 3,
            "steps": 3,
            "meta_batch": 2,
            "learning_rate": 0.003,
            "iterations": 40,
        }
        return TrainingConfig.of(**{name: value for name, value in {**values, **changes}.items() if value is not None})  # type: ignore[arg-type]

    return configure


@pytest.fixture(scope="session")
def trained_run(
    tmp_path_factory: pytest.TempPathFactory,
    training_data: ImageDataset,
    new_classes: ImageDataset,
    tiny_config: Callable[..., TrainingConfig],
) -> Path:
    """The folder of a finished run: conv4, ANIL, about 90% on `new_classes`."""
    from tests.training_runs import train

    run = tmp_path_factory.mktemp("trained") / "run"
    train(
        training_data,
        run,
        tiny_config(),
        validation=new_classes,
        device="cpu",
        micro_batch=1,
        bf16=False,
        trained_on="drawn gratings",
    )
    return run


@pytest.fixture(scope="session")
def exported_bundle(tmp_path_factory: pytest.TempPathFactory, trained_run: Path) -> Path:
    """`trained_run` as a bundle."""
    from edge_adapt.bundles.from_run import export_bundle
    from edge_adapt.bundles.provenance import Provenance

    path = tmp_path_factory.mktemp("exported") / "gratings.edge"
    export_bundle(trained_run, path, provenance=Provenance(license="Apache-2.0"))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes with three images each, dark and bright."""
    folder = tmp_path / "photos"
    random = np.random.default_rng(0)
    for label, level in (("dark", 40), ("bright", 200)):
        (folder / label).mkdir(parents=True)
        for shot in range(3):
            pixels = random.integers(level - 30, level + 30, (20, 20, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{shot}.png")
    return folder
