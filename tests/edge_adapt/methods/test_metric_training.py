"""ProtoNet, matching and siamese networks as methods: their settings, that they learn, and the way from images to answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from torch import nn

from edge_adapt.methods import METHODS
from edge_adapt.methods.siamese import SiameseHead
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.training.build import build_learner
from edge_adapt.training.checkpoint import load_checkpoint
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner
from tests.command_line import complaint, json_lines, succeeded
from tests.command_line import edge_adapt as command
from tests.gratings import gratings, write_images
from tests.metric_heads import HEADS
from tests.training_runs import train

every_head = pytest.mark.parametrize("name", HEADS)


@every_head
def test_they_take_no_steps_and_no_gradient_head(name: str) -> None:
    assert TrainingConfig.of(method=name).method.inner_steps == 0
    for option, value in (("steps", 0), ("steps", 5), ("initialization", "zero"), ("first_order", True)):
        with pytest.raises(EdgeAdaptError, match=f"^{option} is not for the method {name}; leave it out.$"):
            TrainingConfig.of(name, **{option: value})


@every_head
@pytest.mark.parametrize("centred", [False, True])
def test_training_begins_where_chance_ends(name: str, centred: bool) -> None:
    """Random features of the length and spread that training meets first give a loss near chance, and not one that saturates."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2 * 60, 64, generator=generator).relu()
    if centred:
        features = nn.functional.normalize(features - features.mean(0), dim=1)
    labels = torch.arange(20).repeat(3)
    head = METHODS[name]().head(64, centred)
    with torch.no_grad():
        state, _ = head.adapt(features[:60], labels, 20, 0)
        logits = head.predict(features[60:], state)
    probabilities = torch.softmax(logits, 1)
    assert 1.5 < float(-(probabilities * probabilities.log()).sum(1).mean()) <= np.log(20)
    assert float(head.loss(logits, labels)) < 2 * np.log(20)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 classes of 6 images."""
    return write_images(tmp_path_factory.mktemp("data") / "gratings", gratings(8, 6, size=16))


@every_head
def test_meta_training_makes_new_classes_tell_apart(
    name: str,
    training_data: ImageDataset,
    new_classes: ImageDataset,
    tiny_config: Callable[..., TrainingConfig],
    tmp_path: Path,
) -> None:
    config = tiny_config(method=name, steps=None, iterations=30)
    train(training_data, tmp_path / "run", config, device="cpu", micro_batch=1, bf16=False)
    trained, _ = load_learner(tmp_path / "run")
    torch.manual_seed(config.seed)
    untrained = build_learner(config, trained.embedding.mean, trained.embedding.std).eval()
    before, after = (
        evaluate_episodes(
            LearnerModel(learner, torch.device("cpu")),
            new_classes,
            EvaluationProtocol(n_way=5, n_shot=1, n_query=10, episodes=60, steps=0, seed=7),
        ).accuracy
        for learner in (untrained, trained)
    )
    assert after > before + 0.15


@pytest.mark.parametrize(
    "name", ["protonet", *(pytest.param(name, marks=pytest.mark.slow) for name in ("matching", "siamese"))]
)
def test_from_images_to_answers(name: str, data: Path, tmp_path: Path) -> None:
    run, model, mine = tmp_path / "run", tmp_path / "model.edge", tmp_path / "mine.edge"
    small = ["--grayscale", "--image-size", "16", "--way", "4", "--meta-batch", "2", "--micro-batch", "1"]
    succeeded(
        command("train", data, "-o", run, *small, "--method", name, "--no-bf16", "--iterations", "4", "--device", "cpu")
    )
    assert "accuracy over 20 episodes" in succeeded(command("export", run, "-o", model))
    manifest = Bundle.open(model).manifest
    assert (manifest.method, manifest.default_steps, manifest.max_ways, manifest.max_support) == (name, 0, None, None)
    assert "self-check     passed" in succeeded(command("info", model))

    episodes = [str(data), "--way", "4", "--query", "3", "--episodes", "20", "--json"]
    (of_bundle,) = json_lines(succeeded(command("evaluate", model, *episodes)))
    (of_run,) = json_lines(succeeded(command("evaluate", run, *episodes, "--provider", "cpu")))
    assert of_bundle["accuracy"] == pytest.approx(of_run["accuracy"], abs=5e-3)
    assert of_bundle["steps"] == 0

    said = succeeded(command("adapt", data, "-o", mine, "--model", model))
    assert "none, for there are no steps" in said and "Expect about" in said
    answers = json_lines(succeeded(command("classify", mine, data, "--json")))
    assert len(answers) == 48
    for answer in answers:
        scores = answer["scores"]
        assert isinstance(scores, dict) and sum(scores.values()) == pytest.approx(1)
    adapted = Bundle.open(mine).adaptation()
    assert (adapted.steps, adapted.losses) == (0, ())
    assert "8 classes" in succeeded(command("info", mine))

    sentence = "takes no gradient steps; leave the number of steps out."
    assert sentence in complaint(command("adapt", data, "-o", tmp_path / "none.edge", "--model", model, "--steps", "3"))
    assert not (tmp_path / "none.edge").exists()
    for trained in (model, run):
        assert sentence in complaint(command("evaluate", trained, *episodes, "--steps", "3"))
    succeeded(command("evaluate", model, *episodes, "--steps", "0"))


def test_a_recipe_has_methods_of_its_own() -> None:
    arguments = ["train", "data", "-o", "run", "--recipe", "conv4", "--method", "protonet"]
    assert "--method is about one stage" in complaint(command(*arguments), status=2)


def test_episodes_may_start_from_a_run_with_another_head(
    training_data: ImageDataset,
    tiny_config: Callable[..., TrainingConfig],
    tmp_path: Path,
) -> None:
    path = ["pretrain", "protonet", "matching", "siamese", "head-only"]
    reached = None
    for name in path:
        steps = None if name in HEADS else 2
        config = tiny_config(method=name, steps=steps, iterations=1, batch_size=16, learning_rate=1e-9)
        reached = train(
            training_data,
            tmp_path / name,
            config,
            weights=reached,
            device="cpu",
            micro_batch=2 if name != "pretrain" else 16,
            bf16=False,
        )
    first, last = (load_learner(tmp_path / name)[0].embedding.backbone for name in (path[0], path[-1]))
    for parameter, kept in zip(first.parameters(), last.parameters(), strict=True):
        torch.testing.assert_close(kept, parameter)
    head = load_learner(tmp_path / "siamese")[0].head
    assert isinstance(head, SiameseHead)
    assert float(load_checkpoint(tmp_path / "matching").learner["head.log_scale"].exp()) == pytest.approx(10)
