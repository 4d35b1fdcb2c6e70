"""Pre-training and recipes: that classification learns, and that stages follow each other and survive what stops them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch

from edge_adapt.networks import build as building
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.training import stages
from edge_adapt.training.checkpoint import last_stage, load_checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.recipes import RECIPES, Recipe, Stage, find_recipe
from edge_adapt.training.run import load_learner, load_sample
from edge_adapt.training.stage import train_stage
from edge_adapt.training.stages import saved_recipe
from edge_adapt.training.teacher import Teacher
from tests.gratings import gratings
from tests.training_runs import train, train_recipe

SMALL: dict[str, Any] = {"grayscale": True, "centred": True, "n_way": 4, "n_query": 3, "steps": 2, "meta_batch": 2}


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of seconds by the name of tiny."""
    stages = (
        Stage("pretrain", 0.75, {"method": "pretrain", "batch_size": 16, "learning_rate": 0.1, "iterations": 3}),
        Stage("episodes", 0.25, {"iterations": 4, "learning_rate": 1e-4}),
    )
    monkeypatch.setitem(RECIPES, "tiny", Recipe("for tests", SMALL, stages))


def start(data: ImageDataset, run: Path, **options: Any) -> Any:
    return train_recipe(data, run, "tiny", **{"device": "cpu", "bf16": False, **options})


def test_classification_learns_features_for_new_classes(
    training_data: ImageDataset, new_classes: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    accuracies = []
    for iterations in (1, 30):
        run = tmp_path / str(iterations)
        config = tiny_config(method="pretrain", batch_size=32, learning_rate=0.1, iterations=iterations, centred=True)
        checkpoint = train(training_data, run, config, device="cpu", micro_batch=32, bf16=False)
        learner, _ = load_learner(run)
        result = evaluate_episodes(
            LearnerModel(learner, torch.device("cpu")),
            new_classes,
            EvaluationProtocol(n_way=5, n_shot=1, n_query=10, episodes=50, steps=0, seed=0),
        )
        accuracies.append(result.accuracy)
    assert checkpoint.records[-1].accuracy > 0.8  # of 16 training classes
    assert accuracies[1] > accuracies[0] + 0.1


@pytest.mark.usefixtures("recipe")
def test_each_stage_starts_from_the_one_before(training_data: ImageDataset, tmp_path: Path) -> None:
    run = tmp_path / "run"
    end = start(training_data, run, trained_on="gratings")
    assert sorted(path.name for path in run.iterdir()) == ["1-pretrain", "2-episodes", "origin.json", "recipe.json"]
    classified, meta_trained = (load_checkpoint(run / name) for name in ("1-pretrain", "2-episodes"))
    assert (classified.iteration, meta_trained.iteration) == (3, 4)
    assert last_stage(run) == run / "2-episodes"
    assert load_checkpoint(run).config == meta_trained.config == end.config
    assert load_sample(run).class_names == training_data.class_names[: len(load_sample(run).class_names)]
    name = "embedding.backbone.convolutions.3.weight"
    moved = (meta_trained.learner[name] - classified.learner[name]).abs().max()
    assert 0 < moved <= 4 * 1e-4 * 1.01  # four steps of Adam from where classification ended


@pytest.mark.usefixtures("recipe")
def test_a_recipe_goes_on_where_it_stopped(
    training_data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = start(training_data, tmp_path / "whole")
    real = train_stage

    def second_stage_fails(*arguments: Any, **options: Any) -> Any:
        if arguments[1].name == "2-episodes":
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "train_stage", second_stage_fails)
        start(training_data, tmp_path / "run")
    first = (tmp_path / "run" / "1-pretrain" / "checkpoint.pt").stat().st_mtime_ns
    with pytest.raises(EdgeAdaptError, match="holds a run already; go on with it by"):
        start(training_data, tmp_path / "run")
    resumed = start(training_data, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "1-pretrain" / "checkpoint.pt").stat().st_mtime_ns == first
    assert resumed.iteration == whole.iteration
    monkeypatch.setitem(RECIPES, "tiny", replace(RECIPES["tiny"], summary="another"))
    with pytest.raises(EdgeAdaptError, match="the recipe or the data have changed since it began"):
        start(training_data, tmp_path / "run", resume=True)


@pytest.mark.usefixtures("recipe")
def test_what_is_shown_is_what_is_trained(training_data: ImageDataset, tmp_path: Path) -> None:
    start(training_data, tmp_path, overrides={"seed": 7})
    shown = find_recipe("tiny").describe("tiny", {"seed": 7})
    assert json.loads((tmp_path / "recipe.json").read_text()) == json.loads(json.dumps(shown))
    for name, settings in shown["stages"].items():
        assert load_checkpoint(tmp_path / name).config == TrainingConfig.from_dict(settings)
    saved = saved_recipe(tmp_path)
    assert saved is not None and (saved.name, saved.overrides, saved.minutes) == ("tiny", {"seed": 7}, None)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(EdgeAdaptError, match=r"recipe\.json is damaged"):
        saved_recipe(tmp_path)


@pytest.fixture
def ambitious(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe by the name of tiny whose episodes take more classes and images than there are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stages = (
        Stage("pretrain", 0.5, {"method": "pretrain", "batch_size": 32, "iterations": 1}),
        Stage("episodes", 0.4, {"n_way": 20, "n_shot": 5, "n_query": 5, "iterations": 1}),
        Stage("head", 0.1, {"method": "head-only", "iterations": 1, "n_query": 50}),
    )
    monkeypatch.setitem(RECIPES, "tiny", Recipe("for tests", SMALL, stages))


@pytest.mark.usefixtures("ambitious")
def test_episodes_of_a_recipe_become_as_small_as_the_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    start(gratings(6, 8), run)
    config = load_checkpoint(run / "2-episodes").config
    assert (config.n_way, config.n_shot, config.n_query) == (6, 4, 4)
    noted = json.loads((run / "recipe.json").read_text())["stages"]
    assert TrainingConfig.from_dict(noted["2-episodes"]) == config
    assert load_checkpoint(run / "3-head").config.n_query == 50
    assert capsys.readouterr().err.splitlines() == [
        "2-episodes: n_way 6, not 20, n_shot 4, not 5, n_query 4, not 5, for there are no more classes and images"
    ]


@pytest.mark.usefixtures("ambitious")
@pytest.mark.parametrize(
    ("classes", "images", "overrides", "said"),
    [
        (6, 8, {"n_way": 7}, "7 ways need as many classes and there are 6"),
        (6, 8, {"n_shot": 8}, "has 8 images where an episode takes 9"),
        (6, 1, {}, "has 1 images where an episode takes 2"),
        (4, 8, {}, "4 of the 4 classes have 6 images or more, and the head learns from 5 such classes or more"),
        (1, 8, {}, "there is one class"),
    ],
)
def test_a_recipe_that_the_data_does_not_suffice_for_is_refused_before_anything_is_trained(
    classes: int, images: int, overrides: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        start(gratings(classes, images), tmp_path / "run", overrides=overrides)
    assert not (tmp_path / "run").exists()


def test_classification_needs_no_episodes(tmp_path: Path, tiny_config: Callable[..., TrainingConfig]) -> None:
    config = tiny_config(method="pretrain", batch_size=8, iterations=1, n_way=20, n_query=15)
    assert train(gratings(3, 2), tmp_path, config, device="cpu", micro_batch=8, bf16=False).iteration == 1


@pytest.mark.parametrize("name", list(RECIPES))
def test_recipes_are_sound(name: str) -> None:
    recipe = RECIPES[name]
    assert sum(stage.share for stage in recipe.stages) == pytest.approx(1)
    for config in recipe.configurations().values():
        assert config.iterations and not config.minutes
    budget = recipe.configurations(minutes=10).values()
    assert sum(config.minutes or 0 for config in budget) == pytest.approx(10)
    first = next(iter(recipe.configurations({"seed": 7}).values()))
    assert first.seed == 7


def test_a_recipe_that_nobody_knows_is_named() -> None:
    with pytest.raises(EdgeAdaptError, match="'phots' is not a recipe; choose one of photos, edge, conv4"):
        find_recipe("phots")


def test_weights_of_another_backbone_are_no_start(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    config = tiny_config(method="pretrain", batch_size=8, iterations=1)
    other = train(training_data, tmp_path / "run", config, device="cpu", micro_batch=8, bf16=False)
    with pytest.raises(
        EdgeAdaptError, match="the weights to start from are of the backbone 'conv4' with other settings"
    ):
        train(
            training_data, tmp_path / "edge", tiny_config(backbone="edge", image_size=28), device="cpu", weights=other
        )


def test_weights_that_a_run_has_are_not_fetched_again(
    training_data: ImageDataset,
    tmp_path: Path,
    tiny_config: Callable[..., TrainingConfig],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetched = []

    def network(name: str, channels: int, pretrained: bool) -> Conv4:
        fetched.append(pretrained)
        return Conv4(channels)

    monkeypatch.setattr(building, "TimmBackbone", network)
    config = tiny_config(
        method="pretrain", backbone="timm:resnet18", pretrained=True, batch_size=8, iterations=1, learning_rate=0.1
    )
    options: dict[str, Any] = {"device": "cpu", "micro_batch": 8, "bf16": False}
    teacher = train(training_data, tmp_path / "run", config, **options)
    train(training_data, tmp_path / "run", config, **options, resume=True)
    train(training_data, tmp_path / "started", config, **options, weights=teacher)
    Teacher(teacher, torch.device("cpu"))
    assert fetched == [True, False, False, False]


@pytest.mark.usefixtures("recipe")
def test_a_recipe_and_a_run_of_one_stage_do_not_share_a_folder(
    training_data: ImageDataset, tmp_path: Path, tiny_config: Callable[..., TrainingConfig]
) -> None:
    train(training_data, tmp_path, tiny_config(iterations=1), device="cpu", micro_batch=1, bf16=False)
    with pytest.raises(EdgeAdaptError, match="holds a run already"):
        start(training_data, tmp_path)


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_first_stage_of_a_taught_recipe_distils_and_shares_still_add_up(name: str) -> None:
    plan, taught = RECIPES[name], RECIPES[name].taught()
    assert [stage.distil for stage in taught.stages] == [True, *(False for _ in taught.stages[1:])]
    assert taught.stages[-1].settings == plan.stages[-1].settings
    assert sum(stage.share for stage in taught.stages) == pytest.approx(1) == sum(stage.share for stage in plan.stages)
