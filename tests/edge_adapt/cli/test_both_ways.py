"""The command and the API of the same name train the same weights, with the same defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

import edge_adapt
from edge_adapt.methods import METHODS
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.training.checkpoint import load_checkpoint
from tests.command_line import edge_adapt as command
from tests.command_line import succeeded
from tests.conftest import TINY
from tests.gratings import gratings, write_images
from tests.training_runs import same_weights


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 classes of 7 images: fewer ways than by default, and as many queries."""
    return write_images(tmp_path_factory.mktemp("both") / "gratings", gratings(8, 7))


@pytest.fixture(scope="module")
def pretrained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to start from."""
    run = tmp_path_factory.mktemp("both") / "pretrained"
    config = edge_adapt.TrainingConfig.of("pretrain", grayscale=True, iterations=1, batch_size=8)
    images = edge_adapt.load_dataset(data, config.preprocessing)
    edge_adapt.train(images, run, config, compute=edge_adapt.Compute("cpu", 8, False))
    return run


LIKE_OTHERS = ("fomaml", "meta-sgd", "maml", "reptile", "memory", "matching", "siamese")
"""Methods whose way is that of another one, `anil` or `protonet`, which is tried each time."""


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[pytest.mark.slow] * (name in LIKE_OTHERS)) for name in METHODS]
)
def test_both_train_the_same_weights(
    method: str, data: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings: dict[str, Any] = {"grayscale": method != "distil", "iterations": 1, "seed": 4}
    settings |= {"batch_size": 8} if METHODS[method].of_images else {"meta_batch": 2}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items() if name != "grayscale"]
    options += ["--grayscale"] if settings["grayscale"] else []
    start = edge_adapt.Start()
    if method == "distil":
        options += [f"--teacher={TINY}"]
        start = edge_adapt.Start(teacher=FeatureTeacher.read(TINY, provider="cpu"))
    elif method == "head-only":
        options += [f"--start-from={pretrained}"]
        settings |= {"centred": False}  # as the run that it starts from
        start = edge_adapt.Start(weights=load_checkpoint(pretrained))
    micro_batch = 8 if METHODS[method].of_images else 2
    options += ["--device=cpu", "--no-bf16", f"--micro-batch={micro_batch}", f"--method={method}"]
    succeeded(command("train", data, "-o", tmp_path / "command", *options))
    config = edge_adapt.TrainingConfig.of(method, **settings)
    edge_adapt.train(
        edge_adapt.load_dataset(data, config.preprocessing),
        tmp_path / "api",
        config,
        start=start,
        compute=edge_adapt.Compute("cpu", micro_batch, False),
    )
    by_command, by_api = (load_checkpoint(tmp_path / name) for name in ("command", "api"))
    assert by_command.config == by_api.config
    assert same_weights(by_command.learner, by_api.learner)
