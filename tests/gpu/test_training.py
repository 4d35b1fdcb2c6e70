"""Every method, and a recipe, from images on a GPU to a bundle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.bundles.from_run import export_bundle
from edge_adapt.evaluation import evaluate
from edge_adapt.methods import episodes
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.training import recipes
from edge_adapt.training.checkpoint import Checkpoint
from tests.gpu import pretend
from tests.gratings import gratings
from tests.training_runs import Configure, same_weights, train_recipe

pytestmark = pytest.mark.gpu

STEPS = dict.fromkeys(("anil", "maml", "fomaml", "meta-sgd", "reptile"), 1)
"""Of the inner loop, of those that have one."""


@pytest.mark.parametrize("method", [*STEPS, *("protonet", "matching", "siamese", "memory", "pretrain")])
def test_every_method_trains_and_is_measured(
    method: str, brief: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset
) -> None:
    settings = {"batch_size": 16, "n_way": None, "n_query": None} if method == "pretrain" else {}
    shape = {"n_way": 3, "n_query": 1, "augment": True, **settings}
    config = tiny_config(method=method, steps=STEPS.get(method), iterations=1, **shape)
    reached = brief(config, validation=new_classes)
    assert reached.iteration == 1 and reached.records[-1].validation is not None
    assert all(bool(tensor.isfinite().all()) for tensor in reached.learner.values())


@pytest.mark.real_gpu
@pytest.mark.parametrize("method", ["anil", "maml", "protonet", "memory"])
def test_what_a_gpu_trained_passes_the_gates_of_the_export(
    method: str, brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    brief(tiny_config(method=method, steps=STEPS.get(method), iterations=60))
    export_bundle(tmp_path / "run", tmp_path / "run.edge")


@pytest.mark.parametrize("method", ["maml", "reptile"])
def test_a_run_is_evaluated_on_all_layers(
    method: str, brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, new_classes: ImageDataset
) -> None:
    brief(tiny_config(method=method, steps=1, iterations=1, n_way=3, n_query=1))
    protocol = EvaluationProtocol(n_way=3, n_shot=1, n_query=2, episodes=2)
    measured = evaluate(tmp_path / "run", new_classes, protocol, all_layers=True, provider="cuda")
    assert 0 <= measured.accuracy <= 1


def colour(classes: int, per_class: int, seed: int) -> ImageDataset:
    """Gratings in colour, 40x40."""
    gray = gratings(classes, per_class, seed=seed, size=40)
    return dataclasses.replace(gray, images=np.repeat(gray.images, 3, axis=3))


def test_a_recipe_trains_all_its_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = recipes.RECIPES["edge"]
    stages = tuple(dataclasses.replace(stage, settings={**stage.settings, "iterations": 1}) for stage in plan.stages)
    monkeypatch.setitem(recipes.RECIPES, "short", dataclasses.replace(plan, stages=stages))
    overrides = {
        "batch_size": 8,
        "meta_batch": 1,
        "n_way": 4,
        "n_shot": 1,
        "n_query": 2,
        "image_size": 40,
        "crop_size": 32,
    }
    reached = train_recipe(
        colour(5, 6, 0), tmp_path / "run", "short", overrides, device="cuda", cache=str(tmp_path / "cache")
    )
    assert reached.iteration == 1


def test_images_that_do_not_fit_stay_on_the_host(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(episodes, "MEMORY_SHARE", 0.0)
    assert brief(tiny_config(iterations=1, n_way=3, n_query=1)).iteration == 1


def test_two_runs_are_as_near_as_the_device_lets_them(
    brief: Callable[..., Checkpoint], tiny_config: Configure, record_property: Callable[[str, object], None]
) -> None:
    """CUDA adds in no fixed order; how far two runs come apart is in the report."""
    config = tiny_config(iterations=2, n_way=3, n_query=1)
    one, other = (brief(config, run, bf16=False).learner for run in ("one", "other"))
    apart = max(float((one[name].float() - other[name].float()).abs().max()) for name in one)
    record_property("largest difference of a weight", apart)
    assert apart < 0.01
    assert torch.cuda.get_device_name() != pretend.NAME or same_weights(one, other)
