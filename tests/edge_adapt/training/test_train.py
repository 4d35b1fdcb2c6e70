"""Meta-training: that it learns, and that it is reproducible."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt.methods.objective import query_loss
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.training import curve, outer_step, trainer
from edge_adapt.training import run as run_module
from edge_adapt.training.build import build_learner
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import load_learner, load_sample
from tests.clock import Clock
from tests.training_runs import Configure, Small, assert_same_run, stop_at, train

# Learning


def test_the_loss_falls_and_new_classes_are_told_apart(trained_run: Path, new_classes: ImageDataset) -> None:
    trained, checkpoint = load_learner(trained_run)
    losses = [record.loss for record in checkpoint.records]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    torch.manual_seed(checkpoint.config.seed)
    untrained = build_learner(checkpoint.config, trained.embedding.mean, trained.embedding.std).eval()
    accuracies = [
        evaluate_episodes(
            LearnerModel(learner, torch.device("cpu")),
            new_classes,
            EvaluationProtocol(n_way=5, n_shot=1, n_query=10, episodes=60, steps=3, seed=7),
        ).accuracy
        for learner in (untrained, trained)
    ]
    assert accuracies[1] > accuracies[0] + 0.2
    assert checkpoint.records[-1].validation == pytest.approx(accuracies[1], abs=0.1)


@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_an_inner_loop_on_all_layers_learns_too(
    method: str, tiny_config: Configure, training_data: ImageDataset, tmp_path: Path
) -> None:
    config = tiny_config(method=method, iterations=100, n_way=3, n_query=2, steps=1, learning_rate=0.01)
    checkpoint = train(
        training_data, tmp_path / "run", config, device="cpu", micro_batch=1, bf16=False, backbone=_seeded(Small)
    )
    losses = [record.loss for record in checkpoint.records]
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:10])
    learner, _ = load_learner(tmp_path / "run", Small())
    assert learner.inner_loop is not None and len(learner.inner_loop.rates) == len(list(Small().parameters()))


def test_a_run_leaves_its_configuration_figures_curve_and_sample(
    trained_run: Path, new_classes: ImageDataset, tiny_config: Configure
) -> None:
    assert sorted(path.name for path in trained_run.iterdir()) == [
        "checkpoint.pt",
        "curve.png",
        "metrics.csv",
        "run.json",
        "sample.npz",
    ]
    described = json.loads((trained_run / "run.json").read_text())
    assert TrainingConfig.from_dict(described["config"]) == tiny_config()
    assert described["execution"] == {"micro_batch": 1, "bf16": False, "fused": False}
    assert described["trained_on"] == "drawn gratings"
    with (trained_run / "metrics.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [int(line["iteration"]) for line in lines] == list(range(1, 41))
    seconds = [float(line["seconds"]) for line in lines]
    assert seconds == sorted(seconds)
    measured = {int(line["iteration"]): float(line["validation"]) for line in lines if line["validation"]}
    assert set(measured) == set(range(2, 41, 2))
    assert all(0 <= value <= 1 for value in measured.values())
    with Image.open(trained_run / "curve.png") as curve:
        assert curve.format == "PNG" and curve.size == (800, 450)
        assert len(curve.convert("RGB").getcolors(1 << 24) or []) > 10
    sample = load_sample(trained_run)
    assert sample.class_names == new_classes.class_names
    assert np.array_equal(sample.images, new_classes.images)
    assert np.array_equal(sample.starts, new_classes.starts)


def test_the_sample_is_spread_over_many_classes(tmp_path: Path) -> None:
    data = ImageDataset(
        "many",
        np.arange(47 * 23, dtype=np.uint32).astype(np.uint8).reshape(-1, 1, 1, 1),
        tuple(f"class {label}" for label in range(47)),
        np.arange(48, dtype=np.int64) * 23,
    )
    run_module.save_sample(tmp_path, data)
    sample = load_sample(tmp_path)
    assert sample.class_names == tuple(f"class {label}" for label in range(0, 40, 2))
    assert sample.counts.tolist() == [20] * 20
    for index, label in enumerate(range(0, 40, 2)):
        assert np.array_equal(sample.images[index * 20 : index * 20 + 20], data.images[label * 23 : label * 23 + 20])


def test_the_sample_leaves_out_classes_that_are_too_small_for_an_episode(tmp_path: Path) -> None:
    counts = [1, 2, 0, 30, 1, 3]
    starts = np.cumsum([0, *counts], dtype=np.int64)
    data = ImageDataset("few", np.arange(37, dtype=np.uint8).reshape(-1, 1, 1, 1), tuple("abcdef"), starts)
    run_module.save_sample(tmp_path, data)
    sample = load_sample(tmp_path)
    assert sample.class_names == ("b", "d", "f") and sample.counts.tolist() == [2, 20, 3]
    assert sample.images.ravel().tolist() == [1, 2, *range(3, 23), 34, 35, 36]


def test_an_outer_step_takes_the_mean_gradient_of_its_pieces_at_a_scheduled_rate(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    slopes, taken = iter(range(1, 99)), []
    step = torch.optim.Adam.step

    def linear_loss(learner: Any, *_: Any) -> tuple[Tensor, Tensor]:
        slope = next(slopes)
        parameter = learner.head.log_pull
        return slope * (1 + parameter - parameter.detach()), torch.tensor(slope / 100)

    def spy(self: torch.optim.Adam, *arguments: Any) -> Any:
        (group,) = self.param_groups
        (gradient,) = (parameter.grad.item() for parameter in group["params"] if parameter.grad is not None)
        taken.append((group["lr"], gradient))
        return step(self, *arguments)

    monkeypatch.setattr("edge_adapt.methods.objective.query_loss", linear_loss)
    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    monkeypatch.setattr(outer_step, "WARM_UP", 4)
    checkpoint = brief(tiny_config(iterations=8, meta_batch=6, learning_rate=0.5), micro_batch=2, backbone=Small())
    rates, gradients = zip(*taken, strict=True)
    assert gradients == pytest.approx([3 * index + 2 for index in range(8)])
    half_cosine = np.cos(np.pi * np.arange(8) / 8) / 2 + 0.5
    assert rates == pytest.approx(0.5 * half_cosine * np.array([0.25, 0.5, 0.75, 1, 1, 1, 1, 1]))
    assert [record.loss for record in checkpoint.records] == pytest.approx([3 * index + 2 for index in range(8)])
    assert [record.accuracy for record in checkpoint.records] == pytest.approx(
        [(3 * index + 2) / 100 for index in range(8)]
    )


# Reproducible


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    config = tiny_config(iterations=4, augment=True)
    first = brief(config, "first")
    assert_same_run(first, brief(config, "second"))
    other = brief(tiny_config(iterations=4, augment=True, seed=1), "other")
    name = "embedding.backbone.convolutions.0.weight"
    assert not torch.equal(other.learner[name], first.learner[name])


def test_another_seed_draws_other_episodes(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[int, list[bytes]] = {0: [], 1: [], 2**32 - 1: []}
    for seed, episodes in drawn.items():

        def spy(learner: Any, images: Tensor, *rest: Any, into: list[bytes] = episodes) -> Any:
            into.append(images.numpy().tobytes())
            return query_loss(learner, images, *rest)

        monkeypatch.setattr("edge_adapt.methods.objective.query_loss", spy)
        brief(tiny_config(iterations=3, seed=seed), f"run {seed}", backbone=Small())
    assert [len(set(episodes)) for episodes in drawn.values()] == [6, 6, 6]  # three outer steps of two
    assert len(set.union(*map(set, drawn.values()))) == 18


@pytest.mark.parametrize("method", ["anil", "maml"])
def test_a_run_interrupted_and_resumed_is_the_run_that_was_not(
    method: str, brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(method=method, iterations=9, n_way=3, steps=2, augment=True)
    module: Callable[[], nn.Module | None] = (lambda: None) if method == "anil" else Small
    whole = brief(config, "whole", backbone=_seeded(module))
    with monkeypatch.context() as patch:
        stop_at(6, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, backbone=_seeded(module))
    with monkeypatch.context() as patch:
        stop_at(2, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, backbone=_seeded(module), resume=True)
    assert_same_run(brief(config, backbone=_seeded(module), resume=True), whole)


def _seeded(module: Callable[[], nn.Module | None]) -> nn.Module | None:
    torch.manual_seed(3)
    return module()


def test_dropout_draws_the_same_numbers_after_a_resume(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From PyTorch's own generator, which is not that of the episodes.
    config = tiny_config(iterations=5)
    whole = brief(config, "whole", backbone=_seeded(lambda: Small(0.5)))
    with monkeypatch.context() as patch:
        stop_at(3, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config, backbone=_seeded(lambda: Small(0.5)))
    assert_same_run(brief(config, backbone=_seeded(lambda: Small(0.5)), resume=True), whole)


def test_a_record_of_many_steps_is_the_same_after_a_resume(
    training_data: ImageDataset, tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curve, "draw", lambda records: b"")
    monkeypatch.setattr(trainer, "RECORDS", 3)
    config = tiny_config(iterations=9)
    options: dict[str, Any] = {"device": "cpu", "micro_batch": 1, "bf16": False}
    whole = train(training_data, tmp_path / "whole", config, backbone=_seeded(Small), **options)
    assert [record.iteration for record in whole.records] == [3, 6, 9]
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
        stop_at(6, patch)  # two steps of the second record are done
        with pytest.raises(KeyboardInterrupt):
            train(training_data, tmp_path / "run", config, backbone=_seeded(Small), **options)
    resumed = train(training_data, tmp_path / "run", config, backbone=_seeded(Small), resume=True, **options)
    assert_same_run(resumed, whole)


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from edge_adapt.training import curve
from edge_adapt.training import trainer
from edge_adapt.training import validation
from edge_adapt.training.config import TrainingConfig
from tests.gratings import gratings
from tests.training_runs import train

curve.draw = lambda checkpoint: b""
trainer.CHECKPOINT_SECONDS = -1
save, saved = torch.save, 0

def save_and_be_killed(payload, stream):
    global saved
    saved += 1
    if saved == 5:  # the first is the start
        stream.write(b"half a checkpoint")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(payload, stream)

torch.save = save_and_be_killed
validation.LEAST_EPISODES = validation.MOST_EPISODES = 50
train(
    gratings(16, 10), sys.argv[1], TrainingConfig.from_dict(eval(sys.argv[2])), validation=gratings(8, 16, seed=1, turn=0.5),
    device="cpu", micro_batch=1, bf16=False,
)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    brief: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset, tmp_path: Path
) -> None:
    config = tiny_config(iterations=6)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), repr(config.to_dict())]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    killed = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = load_checkpoint(tmp_path / "run")
    assert before.iteration == 3 and before.best
    resumed, whole = (brief(config, run, resume=True, validation=new_classes) for run in ("run", "whole"))
    assert_same_run(resumed, whole)


def test_a_finished_run_resumes_to_itself(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=2)
    finished = brief(config)
    stop_at(1, monkeypatch, micro_batches=1, error=AssertionError("no step is left to take"))
    assert_same_run(brief(config, resume=True), finished)


def test_a_run_goes_on_with_the_piece_and_the_precision_that_are_given(
    brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    config = tiny_config(iterations=1)
    brief(config, micro_batch=2, bf16=False)
    assert brief(config, resume=True, micro_batch=1, bf16=True).execution == Execution(1, bf16=True)
    assert brief(config, resume=True, micro_batch=None, bf16=None).execution == Execution(1, bf16=True)


def test_resume_without_a_run_begins_one(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert brief(tiny_config(iterations=1), resume=True).iteration == 1


def test_minutes_are_a_budget_over_all_stretches(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("edge_adapt.training.trainer.time.monotonic", clock)
    config = tiny_config(iterations=None, minutes=1.0)
    with monkeypatch.context() as patch:
        stop_at(4, patch)
        with pytest.raises(KeyboardInterrupt):
            brief(config)
    before = load_checkpoint(tmp_path / "run")
    clock.seconds += 10_000  # the break between two stretches does not count
    resumed = clock.seconds
    after = brief(config, resume=True)
    assert 10 < before.seconds < 60 <= after.seconds < 80
    assert clock.seconds - resumed < 80 - before.seconds
    assert after.iteration > before.iteration == 3
