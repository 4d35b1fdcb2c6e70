"""Short runs: what stops them, what they have in common, and a backbone that takes no time."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edge_adapt.methods.objective import normalized_episodes, query_loss
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.compute import Compute
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.recipes import ChosenRecipe
from edge_adapt.training.start import Reading, Start
from edge_adapt.training.train import resume as edge_adapt_resume
from edge_adapt.training.train import train as edge_adapt_train
from tests import image_files

Configure = Callable[..., TrainingConfig]


def train(
    data: ImageDataset,
    run: str | os.PathLike[str],
    config: TrainingConfig | ChosenRecipe,
    *,
    validation: ImageDataset | None = None,
    trained_on: str | None = None,
    resume: bool = False,
    **options: Any,
) -> Checkpoint:
    """`edge_adapt.train`, the fields of its groups side by side; or `resume`, given all of it again, where a run has begun."""
    if trained_on is not None:
        data = dataclasses.replace(data, description=trained_on)
    groups: list[Any] = []
    for group in (Start, Compute, Reading):
        own = {field.name for field in dataclasses.fields(group)} & options.keys()
        groups.append(group(**{name: options.pop(name) for name in own}))
    assert not options, options
    start, compute, reading = groups
    if resume and any((Path(run) / name).exists() for name in ("checkpoint.pt", "recipe.json")):
        given = {"teacher": start.teacher, "backbone": start.backbone, "compute": compute, "reading": reading}
        return edge_adapt_resume(run, data=data, validation=validation, **given)
    return edge_adapt_train(data, run, config, validation=validation, start=start, compute=compute, reading=reading)


def train_recipe(
    data: ImageDataset,
    run: str | os.PathLike[str],
    name: str,
    overrides: Mapping[str, Any] | None = None,
    minutes: float | None = None,
    **options: Any,
) -> Checkpoint:
    """`train` by a recipe."""
    return train(data, run, ChosenRecipe(name, overrides or {}, minutes), **options)


def loss_of_images(
    learner: MetaLearner, images: Tensor, n_shot: int, steps: int, weights: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`query_loss` of images as they are drawn, uint8 [E, N, K, H, W, C]."""
    return query_loss(learner, normalized_episodes(learner, images, None), n_shot, steps, weights)


def stop_at(
    step: int, monkeypatch: pytest.MonkeyPatch, micro_batches: int = 2, error: BaseException | None = None
) -> None:
    """Have the second micro-batch of an outer step raise (Ctrl-C, if not told otherwise), once."""
    calls = 0

    def interrupted(*arguments: Any) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        if calls == step * micro_batches:
            raise error or KeyboardInterrupt
        return query_loss(*arguments)

    monkeypatch.setattr("edge_adapt.methods.objective.query_loss", interrupted)


def assert_same_state(left: Any, right: Any) -> None:
    """Nested state dicts, bit for bit."""
    if isinstance(left, Tensor):
        assert left.dtype == right.dtype and torch.equal(left, right)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            assert_same_state(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            assert_same_state(a, b)
    else:
        assert left == right


def same_weights(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Whether two state dicts hold the same numbers, bit for bit."""
    assert list(left) == list(right)
    return all(torch.equal(left[name], right[name]) for name in left)


def assert_same_weights(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> None:
    """State dicts, bit for bit."""
    assert same_weights(left, right)


def assert_same_run(left: Checkpoint, right: Checkpoint) -> None:
    """Weights, optimizer and figures, bit for bit; only the clock may differ."""
    assert_same_state(dict(left.learner), dict(right.learner))
    assert_same_state(dict(left.optimizer), dict(right.optimizer))
    assert_same_state(vars(left.best) if left.best else None, vars(right.best) if right.best else None)
    assert [dataclasses.replace(record, seconds=0) for record in left.records] == [
        dataclasses.replace(record, seconds=0) for record in right.records
    ]
    assert (left.iteration, left.config, left.execution, left.trained_on) == (
        right.iteration,
        right.config,
        right.execution,
        right.trained_on,
    )


def refusal(start: Callable[[], object], kind: type[EdgeAdaptError] = EdgeAdaptError) -> str:
    """The one sentence that a refusal says."""
    return image_files.refusal(start, kind)


def seeded(module: Callable[[], nn.Module | None]) -> nn.Module | None:
    """A module whose weights are the same each time."""
    torch.manual_seed(3)
    return module()


class Small(nn.Module):
    """A backbone of one's own with a norm that does not depend on the batch."""

    def __init__(self, dropout: float = 0, channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 5, stride=3), nn.GroupNorm(2, 8), nn.Dropout(dropout), nn.SiLU(), nn.MaxPool2d(2)
        )

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.layers(images)
        return hidden.flatten(1)
