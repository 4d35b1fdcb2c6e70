"""Following a run: it is measured as it goes, and the best state is what exports."""

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

from edge_adapt.methods.objective import query_loss
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import embed_dataset, evaluate_episodes
from edge_adapt.training import trainer, validation
from edge_adapt.training.budget import is_due
from edge_adapt.training.build import build_learner
from edge_adapt.training.checkpoint import Checkpoint, Snapshot
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner
from edge_adapt.training.validation import VALIDATIONS, Validation
from tests.gratings import gratings
from tests.training_runs import Configure, Small, assert_same_weights, refusal, same_weights

CPU = torch.device("cpu")

# The best state


@pytest.mark.parametrize(
    ("accuracies", "best"), [((0.3, 0.6, 0.5, 0.4), 2), ((0.3, 0.6, 0.6, 0.4), 3), ((0.1, 0.2, 0.3, 0.4), 4)]
)
def test_the_best_state_exports_and_of_equals_the_later_one(
    accuracies: tuple[float, ...],
    best: int,
    validated: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tiny_config: Configure,
    tmp_path: Path,
) -> None:
    states = script(accuracies)
    end = validated(tiny_config(iterations=4))
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
    validated: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], list[dict[str, Tensor]]],
    tiny_config: Configure,
) -> None:
    first = validated(tiny_config(iterations=1), "first", validation=None)
    states = script(accuracies)
    config = tiny_config(iterations=2)
    end = validated(config, weights=first)
    assert_same_weights(states[0], first.learner)
    assert_same_weights(end.exported.learner, states[best])
    assert (end.exported.iteration, end.exported.validation) == (best, accuracies[best])
    again = validated(config, weights=first, resume=True)
    assert again.exported.iteration == best and len(states) == 3


def test_without_validation_the_end_exports(
    validated: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    end = validated(tiny_config(iterations=2), validation=None)
    assert end.best is None
    assert_same_weights(end.exported.learner, end.learner)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["exported"] == {"iteration": 2, "validation": None}
    assert ",best\n1," in (tmp_path / "run" / "metrics.csv").read_text()


def test_what_exports_has_the_accuracy_that_is_said_of_it(
    validated: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset, tmp_path: Path
) -> None:
    end = validated(tiny_config(iterations=5))
    learner, _ = load_learner(tmp_path / "run", Small())
    measured = evaluate_episodes(
        LearnerModel(learner, CPU),
        new_classes,
        EvaluationProtocol(n_way=5, n_shot=1, n_query=15, episodes=20, steps=3, seed=0),
    )
    assert end.exported.validation == measured.accuracy
    assert end.exported.validation == max(record.validation for record in end.records if record.validation is not None)


@pytest.mark.parametrize(
    ("method", "settings"), [("pretrain", {"batch_size": 16, "learning_rate": 0.1}), ("head-only", {})]
)
def test_methods_that_end_at_their_best_export_the_end(
    method: str,
    settings: dict[str, Any],
    validated: Callable[..., Checkpoint],
    tiny_config: Configure,
    new_classes: ImageDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = tiny_config(method=method, iterations=4, centred=True, **settings)
    end = validated(config, micro_batch=None)
    assert end.best is None
    learner, _ = load_learner(tmp_path / "run", Small())
    assert_same_weights(learner.state_dict(), end.learner)
    measured = evaluate_episodes(
        LearnerModel(learner, CPU),
        new_classes,
        EvaluationProtocol(n_way=5, n_shot=1, n_query=15, episodes=20, steps=3, seed=0),
    )
    assert end.exported.iteration == 4
    assert end.exported.validation == measured.accuracy  # with the centring that classify sets at its end
    assert "patience is not for the method" in refusal(lambda: tiny_config(method=method, patience=3))


def test_a_run_interrupted_and_resumed_keeps_the_same_best(
    validated: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=8, learning_rate=0.05)
    whole = validated(config, "whole")
    calls: Iterator[int] = iter(range(1, 99))

    def interrupted(*arguments: Any) -> tuple[Tensor, Tensor]:
        if next(calls) in (6, 6 + 8):
            raise KeyboardInterrupt
        return query_loss(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("edge_adapt.methods.objective.query_loss", interrupted)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                validated(config, resume=True)
    resumed = validated(config, resume=True)
    assert whole.best and resumed.best
    assert (resumed.best.iteration, resumed.best.validation) == (whole.best.iteration, whole.best.validation)
    assert_same_weights(resumed.best.learner, whole.best.learner)
    assert_same_weights(resumed.learner, whole.learner)
    assert [record.validation for record in resumed.records] == [record.validation for record in whole.records]


def test_a_run_is_resumed_with_the_same_validation_classes(
    validated: Callable[..., Checkpoint], tiny_config: Configure, training_data: ImageDataset
) -> None:
    validated(tiny_config(iterations=1))
    for other, found in ((None, "on validation classes"), (training_data, "on other validation classes")):
        message = refusal(lambda other=other: validated(tiny_config(iterations=1), resume=True, validation=other))  # type: ignore[misc]
        assert f"{found} (8 classes, 5-way 1-shot)" in message


def test_a_snapshot_of_the_best_is_not_the_learner_itself() -> None:
    learner: Any = nn.Linear(2, 2)
    kept = validation.better(None, 1, 0.5, learner)
    before = kept.learner["weight"].clone()
    with torch.no_grad():
        learner.weight.add_(1)
    assert torch.equal(kept.learner["weight"], before)
    assert validation.better(kept, 2, np.nextafter(0.5, 0), learner) is kept
    assert validation.better(Snapshot(0, None, {}), 2, 0.0, learner).iteration == 2


# Measuring


def test_a_validation_embeds_anew_only_what_has_changed(
    validated: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    config, execution = tiny_config(iterations=1), Execution(1, False)
    validated(config)
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
        again = measured.accuracy(learner, execution)
        found.append(embedded)
        assert again == Validation(new_classes, config, CPU).accuracy(learner, execution)
        assert again == measured.accuracy(learner, execution)
    assert found == [1, 2, 4]  # of which the second is that of the first fresh one
    assert learner.training


def test_validations_are_evenly_spaced_over_a_run(
    validated: Callable[..., Checkpoint],
    script: Callable[[Sequence[float]], Any],
    tiny_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 60)
    script([0.5] * VALIDATIONS)
    end = validated(tiny_config(iterations=60, n_way=2, n_query=1, steps=0, meta_batch=1))
    measured = [record.iteration for record in end.records if record.validation is not None]
    assert measured == list(range(3, 61, 3)) and len(measured) == VALIDATIONS


@given(st.integers(1, 500), st.integers(1, 100))
def test_moments_of_a_run_are_each_met_once(iterations: int, times: int) -> None:
    fractions = [step / iterations for step in range(iterations + 1)]
    due = [is_due(times, before, after) for before, after in pairwise(fractions)]
    assert due[-1] and sum(due) == min(iterations, times)


def test_validation_episodes_of_more_shots_than_it_keeps_images_take_more() -> None:
    config = TrainingConfig.of(n_way=2, n_shot=105, grayscale=True, backbone="custom")
    measured = Validation(gratings(2, 110), config, CPU)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), Small())
    assert 0.5 <= measured.accuracy(learner, Execution(1, bf16=False)) <= 1


@pytest.mark.parametrize(("minutes", "times", "classes"), [(60.0, VALIDATIONS, 8), (1.1, 6, 8), (0.11, 1, 5)])
def test_validation_takes_a_tenth_of_the_minutes(
    minutes: float,
    times: int,
    classes: int,
    new_classes: ImageDataset,
    tiny_config: Configure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, measure, embed = 0.0, Validation._over_episodes, LearnerModel.embed

    def half_a_second_for_all(model: LearnerModel, images: Any) -> Any:
        nonlocal now
        now += 0.5 * len(images) / len(new_classes.images)
        return embed(model, images)

    def a_hundredth_each(self: Validation, model: LearnerModel, episodes: int, features: Any) -> float:
        nonlocal now
        now += episodes / 100
        return measure(self, model, episodes, features)

    monkeypatch.setattr(validation, "LEAST_EPISODES", 50)
    monkeypatch.setattr(validation, "MOST_EPISODES", 50)
    monkeypatch.setattr("edge_adapt.training.validation.time.perf_counter", lambda: now)
    monkeypatch.setattr(Validation, "_over_episodes", a_hundredth_each)
    monkeypatch.setattr(LearnerModel, "embed", half_a_second_for_all)
    config = tiny_config(iterations=None, minutes=minutes, n_way=4)
    learner = build_learner(config, torch.zeros(1), torch.ones(1))
    measured, execution = Validation(new_classes, config, CPU), Execution(1, False)
    assert measured.fit_into(0.1 * 60 * minutes, learner, execution) == times  # one takes a second
    assert measured.description == f"{classes} classes, 4-way 1-shot" and learner.training
    now = 0
    assert 0 <= measured.accuracy(learner, execution) <= 1
    assert now == pytest.approx(1 if classes == 8 else 0.5 * 5 / 8 + 0.5)  # of 50 episodes at least
