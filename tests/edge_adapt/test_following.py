"""Following a run: the best state is what exports, training stops where nothing gets better, and an older run is named."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt import curve, training, validation
from edge_adapt.building import build_learner
from edge_adapt.cli import training as train_command
from edge_adapt.configuration import TrainingConfig
from edge_adapt.learner import MetaLearner
from edge_adapt.outer_loop import query_loss
from edge_adapt.recipes import RECIPES, Recipe, Stage, train_recipe
from edge_adapt.run import Checkpoint, Record, Snapshot, load_checkpoint, load_learner
from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.evaluation import embed_dataset, evaluate_episodes
from edge_adapt.torch_model import LearnerModel
from edge_adapt.training import is_finished, stopped_early, train
from edge_adapt.tuning import Tuning
from edge_adapt.validation import VALIDATIONS, Validation, out_of_patience
from tests.clock import Clock
from tests.gratings import gratings
from tests.training_runs import refusal

Configure = Callable[..., TrainingConfig]
CPU = torch.device("cpu")


class Small(nn.Module):
    """A backbone that takes no time."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 7, stride=4), nn.ReLU(), nn.Flatten())

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layers(images)
        return features


def small() -> Small:
    torch.manual_seed(3)
    return Small()


@pytest.fixture
def start(
    training_data: ImageDataset, new_classes: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Checkpoint]:
    """Train a small backbone with validation classes, writing a checkpoint after each outer step."""
    monkeypatch.setattr(curve, "draw", lambda checkpoint: b"")
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)

    def go(config: TrainingConfig, run: str = "run", **options: Any) -> Checkpoint:
        given = {"device": "cpu", "piece": 1, "bf16": False, "validation": new_classes, "backbone": small()}
        return train(training_data, tmp_path / run, config, **{**given, **options})

    return go


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], list[dict[str, Tensor]]]:
    """Have validations give these accuracies; the list that comes back fills with the states that were measured."""

    def play(accuracies: Sequence[float]) -> list[dict[str, Tensor]]:
        states: list[dict[str, Tensor]] = []

        def accuracy(self: Validation, learner: MetaLearner, tuning: Tuning) -> float:
            states.append({name: tensor.clone() for name, tensor in learner.state_dict().items()})
            return accuracies[len(states) - 1]

        monkeypatch.setattr(Validation, "accuracy", accuracy)
        return states

    return play


def assert_same_weights(left: Any, right: Any) -> None:
    """State dicts, bit for bit."""
    assert list(left) == list(right)
    assert all(torch.equal(left[name], right[name]) for name in left)


def same_weights(left: Any, right: Any) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


# The best state


@pytest.mark.parametrize(
    ("accuracies", "best"), [((0.3, 0.6, 0.5, 0.4), 2), ((0.3, 0.6, 0.6, 0.4), 3), ((0.1, 0.2, 0.3, 0.4), 4)]
)
def test_the_best_state_exports_and_of_equals_the_later_one(
    accuracies: tuple[float, ...],
    best: int,
    start: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tiny_config: Configure,
    tmp_path: Path,
) -> None:
    states = script(accuracies)
    end = start(tiny_config(iterations=4))
    assert_same_weights(end.learner, states[-1])  # training goes on from the last state
    assert_same_weights(end.exported.learner, states[best - 1])
    assert (best == 4) == same_weights(end.learner, end.exported.learner)
    learner, checkpoint = load_learner(tmp_path / "run", Small())
    assert_same_weights(learner.state_dict(), states[best - 1])
    assert (checkpoint.exported.iteration, checkpoint.exported.validation) == (best, accuracies[best - 1])
    described = json.loads((tmp_path / "run" / "run.json").read_text())
    assert described["exported"] == {"iteration": best, "validation": accuracies[best - 1]}
    assert described["validated_on"] == "8 classes, 5-way 1-shot"
    with (tmp_path / "run" / "metrics.csv").open(newline="") as stream:
        assert [line["iteration"] for line in csv.DictReader(stream) if line["best"]] == [str(best)]


@pytest.mark.parametrize(("accuracies", "best"), [((0.5, 0.4, 0.3), 0), ((0.5, 0.4, 0.6), 2)])
def test_what_a_run_started_from_exports_where_it_only_got_worse(
    accuracies: tuple[float, ...],
    best: int,
    start: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tiny_config: Configure,
) -> None:
    first = start(tiny_config(iterations=1), "first", validation=None)
    states = script(accuracies)
    config = tiny_config(iterations=2)
    end = start(config, initial=first)
    assert_same_weights(states[0], first.learner)
    assert_same_weights(end.exported.learner, states[best])
    assert (end.exported.iteration, end.exported.validation) == (best, accuracies[best])
    again = start(config, initial=first, resume=True)
    assert again.exported.iteration == best and len(states) == 3


def test_without_validation_the_end_exports(
    start: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    end = start(tiny_config(iterations=2), validation=None)
    assert end.best is None
    assert_same_weights(end.exported.learner, end.learner)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["exported"] == {"iteration": 2, "validation": None}
    assert ",best\n1," in (tmp_path / "run" / "metrics.csv").read_text()


def test_what_exports_has_the_accuracy_that_is_said_of_it(
    start: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset, tmp_path: Path
) -> None:
    end = start(tiny_config(iterations=5))
    learner, _ = load_learner(tmp_path / "run", Small())
    measured = evaluate_episodes(
        LearnerModel(learner, CPU), new_classes, n_way=5, n_shot=1, n_query=15, episodes=50, steps=3, seed=0
    )
    assert end.exported.validation == measured.accuracy
    assert end.exported.validation == max(record.validation for record in end.records if record.validation is not None)


@pytest.mark.parametrize(("method", "settings"), [("classify", {"batch_size": 16, "learning_rate": 0.1}), ("head", {})])
def test_methods_that_end_at_their_best_export_the_end(
    method: str,
    settings: dict[str, Any],
    start: Callable[..., Checkpoint],
    tiny_config: Configure,
    new_classes: ImageDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = tiny_config(method=method, iterations=4, centred=True, **settings)
    end = start(config, piece=None)
    assert end.best is None
    learner, _ = load_learner(tmp_path / "run", Small())
    assert_same_weights(learner.state_dict(), end.learner)
    measured = evaluate_episodes(
        LearnerModel(learner, CPU), new_classes, n_way=5, n_shot=1, n_query=15, episodes=50, steps=3, seed=0
    )
    assert end.exported.iteration == 4
    assert end.exported.validation == measured.accuracy  # with the centring that classify sets at its end
    assert "patience is not for the method" in refusal(lambda: tiny_config(method=method, patience=3))


def test_a_run_interrupted_and_resumed_keeps_the_same_best(
    start: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=8, learning_rate=0.05)
    whole = start(config, "whole")
    calls: Iterator[int] = iter(range(1, 99))

    def interrupted(*arguments: Any) -> tuple[Tensor, Tensor]:
        if next(calls) in (6, 6 + 8):
            raise KeyboardInterrupt
        return query_loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("edge_adapt.outer_loop.query_loss", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                start(config, resume=True)
    resumed = start(config, resume=True)
    assert whole.best and resumed.best
    assert (resumed.best.iteration, resumed.best.validation) == (whole.best.iteration, whole.best.validation)
    assert_same_weights(resumed.best.learner, whole.best.learner)
    assert_same_weights(resumed.learner, whole.learner)
    assert [record.validation for record in resumed.records] == [record.validation for record in whole.records]


def test_a_run_is_resumed_with_the_same_validation_classes(
    start: Callable[..., Checkpoint], tiny_config: Configure, training_data: ImageDataset
) -> None:
    start(tiny_config(iterations=1))
    for other in (None, training_data):
        message = refusal(lambda other=other: start(tiny_config(iterations=1), resume=True, validation=other))  # type: ignore[misc]
        assert "other validation classes (8 classes, 5-way 1-shot)" in message


# Measuring


def test_a_validation_embeds_anew_only_what_has_changed(
    start: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config, tuning = tiny_config(iterations=1), Tuning(1, False)
    start(config)
    learner, _ = load_learner(tmp_path / "run", Small())
    embedded = 0

    def counting(*arguments: Any) -> Any:
        nonlocal embedded
        embedded += 1
        return embed_dataset(*arguments)

    monkeypatch.setattr(validation, "embed_dataset", counting)
    measured = Validation(new_classes, config, CPU)
    found = []
    for changed in ("", "head.log_scale", "embedding.backbone.layers.0.weight"):
        if changed:
            with torch.no_grad():
                learner.get_parameter(changed).neg_()
        again = measured.accuracy(learner, tuning)
        found.append(embedded)
        assert again == Validation(new_classes, config, CPU).accuracy(learner, tuning)
        assert again == measured.accuracy(learner, tuning)
    assert found == [1, 2, 4]  # of which the second is that of the first fresh one
    assert learner.training


def test_validations_are_evenly_spaced_over_a_run(
    start: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], Any],
    tiny_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 60)
    script([0.5] * VALIDATIONS)
    end = start(tiny_config(iterations=60, n_way=2, n_query=1, steps=0, meta_batch=1))
    measured = [record.iteration for record in end.records if record.validation is not None]
    assert measured == list(range(3, 61, 3)) and len(measured) == VALIDATIONS


@given(st.integers(1, 500), st.integers(1, 100))
def test_moments_of_a_run_are_each_met_once(iterations: int, times: int) -> None:
    fractions = [step / iterations for step in range(iterations + 1)]
    due = [training._due(times, before, after) for before, after in pairwise(fractions)]
    assert due[-1] and sum(due) == min(iterations, times)


# Stopping early


@given(st.lists(st.sampled_from([None, 0.1, 0.2, 0.3, 0.4]), max_size=30), st.integers(1, 6))
def test_patience_counts_validations_since_the_best_was_reached(accuracies: list[float | None], patience: int) -> None:
    best, waited = -1.0, 0
    for accuracy in accuracies:
        if accuracy is not None:
            best, waited = (accuracy, 0) if accuracy > best else (best, waited + 1)
    records = [Record(step, step, 1, 0.5, accuracy) for step, accuracy in enumerate(accuracies)]
    assert out_of_patience(patience, records) == (waited >= patience)
    assert not out_of_patience(None, records)


@pytest.mark.parametrize("budget", [{"iterations": 10}, {"iterations": None, "minutes": 10.0}])
def test_a_run_out_of_patience_stops_and_is_finished(
    budget: dict[str, Any],
    start: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tiny_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge_adapt.training.time.monotonic", Clock())
    states = script((0.2, 0.5, 0.4, 0.5, 0.3, *(0.9,) * 20))
    config = tiny_config(patience=3, **budget)
    end = start(config)
    assert len(states) == 5 and end.iteration == end.records[-1].iteration
    assert end.best and end.best.validation == 0.5
    assert_same_weights(end.best.learner, states[3])
    assert stopped_early(end) and is_finished(end)
    again = start(config, resume=True)
    assert again.iteration == end.iteration and len(states) == 5
    assert_same_weights(again.learner, end.learner)


def test_a_patience_that_suffices_changes_nothing(
    start: Callable[..., Checkpoint], script: Callable[[Sequence[float]], Any], tiny_config: Configure
) -> None:
    script((0.2, 0.5, 0.4, 0.3) * 2)
    patient, without = start(tiny_config(iterations=4, patience=2), "patient"), start(tiny_config(iterations=4))
    assert_same_weights(patient.learner, without.learner)
    assert not stopped_early(patient) and is_finished(
        patient
    )  # the last validation used up the patience, and the budget


def test_validation_episodes_of_more_shots_than_it_keeps_images_take_more() -> None:
    config = TrainingConfig(n_way=2, n_shot=105, grayscale=True, backbone="custom")
    measured = Validation(gratings(2, 110), config, CPU)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), Small())
    assert 0.5 <= measured.accuracy(learner, Tuning(1, bf16=False)) <= 1


def test_patience_needs_validation_classes(
    start: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, training_data: ImageDataset
) -> None:
    said, overrides = "there are no validation classes", {"patience": 2, "image_size": 28, "grayscale": True}
    assert said in refusal(lambda: start(tiny_config(patience=2), validation=None))
    assert said in refusal(lambda: train_recipe(training_data, tmp_path / "run", "edge", overrides=overrides))
    assert "this recipe has none" in refusal(
        lambda: train_recipe(training_data, tmp_path / "run", "conv4", overrides=overrides)
    )
    assert not (tmp_path / "run").exists()
    assert "patience is 0" in refusal(lambda: tiny_config(patience=0))


def test_the_help_of_patience_says_how_many_validations_there_are() -> None:
    (option,) = (each for each in train_command.train.params if each.name == "patience")
    assert f"a whole run has {VALIDATIONS}" in str(option.to_info_dict()["help"])


# Recipes


def test_a_stage_starts_from_the_best_of_the_one_before_and_patience_ends_a_stage(
    training_data: ImageDataset,
    new_classes: ImageDataset,
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curve, "draw", lambda checkpoint: b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stages = (
        Stage("classify", 0.5, {"method": "classify", "batch_size": 16, "iterations": 3, "learning_rate": 0.1}),
        Stage("episodes", 0.4, {"iterations": 9, "learning_rate": 0.01}),
        Stage("head", 0.1, {"method": "head", "iterations": 2, "steps": 2, "learning_rate": 0.1}),
    )
    shared = {"grayscale": True, "centred": True, "n_way": 4, "n_query": 3, "steps": 2, "meta_batch": 2}
    monkeypatch.setitem(RECIPES, "tiny", Recipe("for tests", shared, stages))
    states = script((*(0.1, 0.2, 0.3, 0.35), *(0.2, 0.6, 0.7, 0.5, 0.4), *(0.8, 0.1)))
    options: dict[str, Any] = {"overrides": {"patience": 2}, "validation": new_classes, "device": "cpu", "bf16": False}
    end = train_recipe(training_data, tmp_path / "run", "tiny", **options)
    classified, episodes, head = (
        load_checkpoint(tmp_path / "run" / name) for name in ("1-classify", "2-episodes", "3-head")
    )
    assert classified.config.patience is None and classified.exported.validation == 0.35
    assert stopped_early(episodes) and episodes.iteration == 4
    assert episodes.best and episodes.best.iteration == 2
    for name, tensor in end.learner.items():
        if name.startswith("embedding."):
            assert torch.equal(tensor, episodes.best.learner[name])
    assert head.config.patience is None and head.iteration == 2
    train_recipe(training_data, tmp_path / "run", "tiny", resume=True, **options)
    assert len(states) == 11  # every stage is finished


# Runs of another edge-adapt


def _altered(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    payload = torch.load(run / "checkpoint.pt", weights_only=True)
    change(payload)
    torch.save(payload, run / "checkpoint.pt")


def _rename_a_weight(payload: dict[str, Any]) -> None:
    for state in (payload["learner"], payload["best"]["learner"]):
        state["head.rate"] = state.pop("head.log_bias_rate")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda payload: payload["config"].update(method="hypernetwork"), "method is 'hypernetwork'"),
        (lambda payload: payload["config"].update(colour="red"), "unexpected keyword argument 'colour'"),
        (lambda payload: payload.update(momenta={}), "unexpected keyword argument 'momenta'"),
        (lambda payload: payload.pop("optimizer"), "missing 1 required positional argument: 'optimizer'"),
        (_rename_a_weight, "are not those that anil with conv4 has in this edge-adapt"),
    ],
)
def test_a_run_of_another_edge_adapt_is_named(
    change: Callable[[dict[str, Any]], object],
    expected: str,
    start: Callable[..., Checkpoint],
    tiny_config: Configure,
    tmp_path: Path,
) -> None:
    config = tiny_config(iterations=1)
    start(config, backbone=None)
    _altered(tmp_path / "run", change)
    for action in (lambda: load_learner(tmp_path / "run"), lambda: start(config, resume=True, backbone=None)):
        message = refusal(action)
        assert expected in message and str(tmp_path / "run") in message
        assert "use the edge-adapt that wrote it" in message


def test_a_checkpoint_without_a_best_state_exports_its_end(
    start: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    def older(payload: dict[str, Any]) -> None:
        del payload["best"], payload["validated_on"], payload["given"], payload["config"]["patience"]

    end = start(tiny_config(iterations=3))
    _altered(tmp_path / "run", older)
    learner, checkpoint = load_learner(tmp_path / "run", Small())
    assert_same_weights(learner.state_dict(), end.learner)
    assert checkpoint.exported.iteration == 3


def test_settings_that_differ_are_named(start: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    start(tiny_config(iterations=1))
    message = refusal(lambda: start(tiny_config(iterations=1, method="fomaml", seed=4), resume=True))
    assert "(method anil, not fomaml, seed 0, not 4)" in message


def test_a_snapshot_of_the_best_is_not_the_learner_itself() -> None:
    learner: Any = nn.Linear(2, 2)
    kept = validation.better(None, 1, 0.5, learner)
    before = kept.learner["weight"].clone()
    with torch.no_grad():
        learner.weight.add_(1)
    assert torch.equal(kept.learner["weight"], before)
    assert validation.better(kept, 2, np.nextafter(0.5, 0), learner) is kept
    assert validation.better(Snapshot(0, None, {}), 2, 0.0, learner).iteration == 2
