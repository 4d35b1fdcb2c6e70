"""What test_distributed.py has torchrun start: one process of several trainings, the last of which loses a process.

    torchrun --nproc-per-node 2 -m tests.several_processes FOLDER

FOLDER/images is the data of the last training. Each process leaves FOLDER/RANK.json, the folders of its runs aside.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge_adapt.cli import main as edge_adapt
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.methods.objective import StepMetrics, query_loss
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training import curve, distributed, trainer
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.outer_step import OuterStep
from edge_adapt.training.run import save_checkpoint
from tests.gratings import gratings
from tests.training_runs import Small, train

DATA = gratings(16, 10)
NEW_CLASSES = gratings(8, 16, seed=1, turn=0.5)
OPTIONS: dict[str, Any] = {"device": "cpu", "bf16": False, "micro_batch": 1}
SMALL: dict[str, Any] = {
    "grayscale": True,
    "n_way": 4,
    "n_query": 2,
    "steps": 2,
    "meta_batch": 3,
    "learning_rate": 0.003,
}
LOST_AT = 3
"""Outer steps that the training which loses a process takes before."""


class Double(nn.Module):
    """A backbone in float64, with running statistics, dropout, and a parameter that no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 5, stride=3), nn.BatchNorm2d(6), nn.Dropout(0.2), nn.SiLU(), nn.AdaptiveAvgPool2d(3)
        ).double()
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1, H, W] to [B, 54]."""
        features: Tensor = self.layers(images.double()).flatten(1)
        return features


def train_in_float64(folder: Path, method: str) -> Checkpoint:
    """Six outer steps of three micro-batches, which two processes cannot share equally."""
    torch.manual_seed(distributed.rank())  # the module of the first process is the one that counts
    config = TrainingConfig.of(method=method, iterations=6, batch_size=24, **SMALL)
    options = OPTIONS | ({} if method == "anil" else {"micro_batch": 8})
    if method == "distil":
        options |= {"teacher": FeatureTeacher.of_module(asked, 12, grayscale=True, name="rows"), "cache": folder.parent}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_adapt.training.validation.MOST_EPISODES", 10)
        torch.set_default_dtype(torch.float64)
        try:
            return train(DATA, folder, config, backbone=Double(), validation=NEW_CLASSES, **options)
        finally:
            torch.set_default_dtype(torch.float32)


asked_about: list[int] = []
"""How many images a teacher was asked about, each time."""


def asked(images: Tensor) -> Tensor:
    """A teacher of features, uint8 [B, H, W, 1] to [B, H]."""
    asked_about.append(len(images))
    return images.double().mean((2, 3))


def refused(start: Callable[[], object]) -> str:
    """The sentence that a training ends with."""
    try:
        start()
    except EdgeAdaptError as error:
        return str(error)
    raise AssertionError("it did not end")


@contextmanager
def in_the_second_process(step: int, effect: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Have the loss of an outer step changed, once, where it is computed by the process of rank 1."""
    calls = 0

    def changed(*arguments: Any) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        loss, accuracy = query_loss(*arguments)
        return (effect(loss) if calls == step and distributed.rank() == 1 else loss), accuracy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_adapt.methods.objective.query_loss", changed)
        yield


def out_of_memory(loss: Tensor) -> Tensor:
    """What PyTorch raises on a GPU."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.")


def main(folder: Path) -> None:
    """Train, each process on its part, and note what came of it."""
    torch.set_num_threads(1)
    saved: list[str] = []

    def noted(run: Path, checkpoint: Checkpoint) -> None:
        saved.append(run.name)
        save_checkpoint(run, checkpoint)

    patch = pytest.MonkeyPatch()
    patch.setattr(curve, "draw", lambda *_: b"")
    patch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
    patch.setattr(trainer, "save_checkpoint", noted)
    seen: dict[str, Any] = {"saved": saved}
    with distributed.joined():
        for method in ("anil", "pretrain", "distil"):
            checkpoint = train_in_float64(folder / method, method)
            seen[method] = {name: tensor.double().sum().item() for name, tensor in checkpoint.learner.items()}
            seen["validation"] = [record.validation for record in checkpoint.records]
        seen["asked"] = sum(asked_about)
        seen["again"] = refused(lambda: train_in_float64(folder / "anil", "anil"))
        config = TrainingConfig.of(iterations=None, minutes=1 / 120, **SMALL)
        options = OPTIONS | {"backbone": Small()}
        seen["minutes"] = train(DATA, folder / "minutes", config, **options).iteration
        config = TrainingConfig.of(iterations=6, **SMALL)
        with in_the_second_process(4, lambda loss: loss * float("nan")):
            seen["nan"] = refused(lambda: train(DATA, folder / "nan", config, **options))
        config = TrainingConfig.of(iterations=6, **{**SMALL, "meta_batch": 8})
        with in_the_second_process(3, out_of_memory):
            seen["halved"] = train(
                DATA, folder / "halved", config, **{**options, "micro_batch": 4}
            ).execution.micro_batch
        seen["idle"] = refused(lambda: train(DATA, folder / "idle", config, **{**options, "micro_batch": 8}))
        recipe_was_claimed(folder / "recipe", seen)
        (folder / f"{distributed.rank()}.json").write_text(json.dumps(seen))
    patch.setattr(OuterStep, "compute", losing_a_process(OuterStep.compute))
    edge_adapt(["train", str(folder / "images"), "-o", str(folder / "killed"), *COMMAND])


def recipe_was_claimed(run: Path, seen: dict[str, Any]) -> None:
    """Two stages; what the first of them left is found by all."""
    from edge_adapt.training.recipes import RECIPES, Recipe, Stage
    from tests.training_runs import train_recipe

    classify = Stage("pretrain", 0.5, {"method": "pretrain", "batch_size": 8, "iterations": 2})
    RECIPES["tiny"] = Recipe("for tests", SMALL, (classify, Stage("episodes", 0.5, {"iterations": 2})))
    seen["recipe"] = train_recipe(DATA, run, "tiny", device="cpu", bf16=False).iteration


def losing_a_process(compute: Callable[..., StepMetrics | None]) -> Callable[..., StepMetrics | None]:
    """The computation of an outer step, before one of which the process of rank 1 kills itself."""

    def until_killed(step: OuterStep, iteration: int, *arguments: Any) -> StepMetrics | None:
        if iteration == LOST_AT and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return compute(step, iteration, *arguments)

    return until_killed


COMMAND = ["--grayscale", "--no-bf16", "--device=cpu", "--way=4", "--query=2", "--meta-batch=2", "--iterations=6"]
COMMAND += ["--micro-batch=1"]

if __name__ == "__main__":
    main(Path(sys.argv[1]))
