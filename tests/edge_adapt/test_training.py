"""Meta-training: that it learns, that it is reproducible, and that a run survives whatever stops it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
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

from edge_adapt import curve, training
from edge_adapt import run as run_module
from edge_adapt.building import build_learner
from edge_adapt.configuration import TrainingConfig
from edge_adapt.outer_loop import query_loss
from edge_adapt.run import Checkpoint, load_checkpoint, load_learner, load_sample
from edge_adapt.runtime.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.torch_model import LearnerModel
from edge_adapt.training import train
from edge_adapt.tuning import Tuning
from tests.clock import Clock
from tests.gratings import gratings

Configure = Callable[..., TrainingConfig]


@pytest.fixture
def brief(training_data: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Checkpoint]:
    """Train without drawing a curve, writing a checkpoint after each outer step."""
    monkeypatch.setattr(curve, "draw", lambda records: b"")
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)

    def start(config: TrainingConfig, run: str = "run", **options: Any) -> Checkpoint:
        return train(training_data, tmp_path / run, config, **{"device": "cpu", "piece": 1, "bf16": False, **options})

    return start


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch, pieces: int = 2, error: BaseException | None = None) -> None:
    """Have the second piece of an outer step raise (Ctrl-C, if not told otherwise), once."""
    calls = 0

    def interrupted(*arguments: Any) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        if calls == step * pieces:
            raise error or KeyboardInterrupt
        return query_loss(*arguments)

    monkeypatch.setattr("edge_adapt.outer_loop.query_loss", interrupted)


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


def assert_same_run(left: Checkpoint, right: Checkpoint) -> None:
    """Weights, optimizer and figures, bit for bit; only the clock may differ."""
    assert_same_state(dict(left.learner), dict(right.learner))
    assert_same_state(dict(left.optimizer), dict(right.optimizer))
    assert_same_state(vars(left.best) if left.best else None, vars(right.best) if right.best else None)
    assert [dataclasses.replace(record, seconds=0) for record in left.records] == [
        dataclasses.replace(record, seconds=0) for record in right.records
    ]
    assert (left.iteration, left.config, left.tuning, left.trained_on) == (
        right.iteration,
        right.config,
        right.tuning,
        right.trained_on,
    )


def refusal(start: Callable[[], object], kind: type[EdgeAdaptError] = EdgeAdaptError) -> str:
    """The one sentence that a refusal says."""
    with pytest.raises(kind) as caught:
        start()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".")
    return message


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
            n_way=5,
            n_shot=1,
            n_query=10,
            episodes=60,
            steps=3,
            seed=7,
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
        training_data, tmp_path / "run", config, device="cpu", piece=1, bf16=False, backbone=_seeded(Small)
    )
    losses = [record.loss for record in checkpoint.records]
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:10])
    learner, _ = load_learner(tmp_path / "run", Small())
    assert learner.inner_loop is not None and len(learner.inner_loop.rates) == len(list(Small().parameters()))


class Small(nn.Module):
    """A backbone of one's own with a norm that does not depend on the batch."""

    def __init__(self, dropout: float = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=3), nn.GroupNorm(2, 8), nn.Dropout(dropout), nn.SiLU(), nn.MaxPool2d(2)
        )

    def forward(self, images: Tensor) -> Tensor:
        hidden: Tensor = self.layers(images)
        return hidden.flatten(1)


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
    assert TrainingConfig(**described["config"]) == tiny_config()
    assert described["tuning"] == {"piece": 1, "bf16": False}
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


def test_an_outer_step_takes_the_mean_gradient_of_its_pieces_at_a_scheduled_rate(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    slopes, taken = iter(range(1, 99)), []
    step = torch.optim.Adam.step

    def linear_loss(learner: Any, *_: Any) -> tuple[Tensor, Tensor]:
        slope = next(slopes)
        parameter = learner.head.log_bias_rate
        return slope * (1 + parameter - parameter.detach()), torch.tensor(slope / 100)

    def spy(self: torch.optim.Adam, *arguments: Any) -> Any:
        (group,) = self.param_groups
        (gradient,) = (parameter.grad.item() for parameter in group["params"] if parameter.grad is not None)
        taken.append((group["lr"], gradient))
        return step(self, *arguments)

    monkeypatch.setattr("edge_adapt.outer_loop.query_loss", linear_loss)
    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    monkeypatch.setattr(training, "WARM_UP", 4)
    checkpoint = brief(tiny_config(iterations=8, meta_batch=6, learning_rate=0.5), piece=2, backbone=Small())
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

        monkeypatch.setattr("edge_adapt.outer_loop.query_loss", spy)
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
    monkeypatch.setattr(training, "RECORDS", 3)
    config = tiny_config(iterations=9)
    options: dict[str, Any] = {"device": "cpu", "piece": 1, "bf16": False}
    whole = train(training_data, tmp_path / "whole", config, backbone=_seeded(Small), **options)
    assert [record.iteration for record in whole.records] == [3, 6, 9]
    with monkeypatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_SECONDS", -1)
        stop_at(6, patch)  # two steps of the second record are done
        with pytest.raises(KeyboardInterrupt):
            train(training_data, tmp_path / "run", config, backbone=_seeded(Small), **options)
    resumed = train(training_data, tmp_path / "run", config, backbone=_seeded(Small), resume=True, **options)
    assert_same_run(resumed, whole)


KILLED = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from edge_adapt import curve, training, validation
from edge_adapt.configuration import TrainingConfig
from tests.gratings import gratings

curve.draw = lambda checkpoint: b""
training.CHECKPOINT_SECONDS = -1
save, saved = torch.save, 0

def save_and_be_killed(payload, stream):
    global saved
    saved += 1
    if saved == 4:
        stream.write(b"half a checkpoint")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    save(payload, stream)

torch.save = save_and_be_killed
validation.LEAST_EPISODES = validation.MOST_EPISODES = 50
training.train(
    gratings(16, 10), sys.argv[1], TrainingConfig(**eval(sys.argv[2])), validation=gratings(8, 16, seed=1, turn=0.5),
    device="cpu", piece=1, bf16=False,
)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_run_killed_while_it_writes_a_checkpoint_goes_on_from_the_one_before(
    brief: Callable[..., Checkpoint], tiny_config: Configure, new_classes: ImageDataset, tmp_path: Path
) -> None:
    config = tiny_config(iterations=6)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "run"), repr(dataclasses.asdict(config))]
    root = Path(__file__).parents[2]
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
    stop_at(1, monkeypatch, pieces=1, error=AssertionError("no step is left to take"))
    assert_same_run(brief(config, resume=True), finished)


def test_a_run_goes_on_with_the_piece_and_the_precision_that_are_given(
    brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    config = tiny_config(iterations=1)
    brief(config, piece=2, bf16=False)
    assert brief(config, resume=True, piece=1, bf16=True).tuning == Tuning(1, bf16=True)
    assert brief(config, resume=True, piece=None, bf16=None).tuning == Tuning(1, bf16=True)


def test_resume_without_a_run_begins_one(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert brief(tiny_config(iterations=1), resume=True).iteration == 1


def test_minutes_are_a_budget_over_all_stretches(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr("edge_adapt.training.time.monotonic", clock)
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


# What stops a run


def test_an_existing_run_is_not_written_over(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    brief(tiny_config(iterations=1))
    assert "holds a run already" in refusal(lambda: brief(tiny_config(iterations=1)))


def test_other_settings_or_another_module_are_not_resumed(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    brief(tiny_config(iterations=1))
    for changes in ({"seed": 1}, {"iterations": 2}, {"method": "fomaml"}, {"learning_rate": 0.1}):
        config = tiny_config(**{"iterations": 1, **changes})
        assert "other settings" in refusal(lambda config=config: brief(config, resume=True))  # type: ignore[misc]
    assert "other settings" in refusal(lambda: brief(tiny_config(iterations=1), resume=True, backbone=Small()))
    brief(tiny_config(iterations=1), "own", backbone=Small())
    other = nn.Sequential(nn.Flatten(), nn.Linear(784, 5))
    (tmp_path / "own" / "recipe.json").write_text("{}")
    assert "holds the stages of a recipe" in refusal(
        lambda: brief(tiny_config(iterations=1), "own", resume=True, backbone=Small())
    )
    (tmp_path / "own" / "recipe.json").unlink()
    assert "does not fit the backbone" in refusal(
        lambda: brief(tiny_config(iterations=1), "own", resume=True, backbone=other)
    )


def test_a_run_resumes_with_what_it_was_given_alone(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path
) -> None:
    teacher, other = (
        brief(tiny_config(method="classify", batch_size=8, iterations=1, seed=seed), f"teacher {seed}", piece=8)
        for seed in (0, 1)
    )
    config = tiny_config(method="classify", batch_size=8, iterations=2, seed=2)
    brief(config, "taught", piece=8, teacher=teacher)
    for found, given in (("this is another", other), ("this is none", None)):
        said = refusal(lambda given=given: brief(config, "taught", resume=True, piece=8, teacher=given))  # type: ignore[misc]
        assert found in said and said.endswith("resume with the same --teacher.")
    brief(config, "taught", resume=True, piece=8, teacher=load_checkpoint(tmp_path / "teacher 0"))
    brief(config, "alone", piece=8, initial=teacher)
    said = refusal(lambda: brief(config, "alone", resume=True, piece=8, teacher=teacher))
    assert said.endswith("was trained without a teacher; resume without --teacher.")
    brief(config, "alone", resume=True, piece=8)
    brief(config, "alone", resume=True, piece=8, initial=teacher)
    assert "did not start from these weights" in refusal(
        lambda: brief(config, "alone", resume=True, piece=8, initial=other)
    )
    classes, same_number = gratings(8, 9, seed=1), dataclasses.replace(gratings(8, 9), class_names=tuple("abcdefgh"))
    brief(tiny_config(iterations=1), "validated", validation=classes)
    for data in (None, same_number):
        assert "other validation classes" in refusal(
            lambda data=data: brief(tiny_config(iterations=1), "validated", resume=True, validation=data)  # type: ignore[misc]
        )
    brief(tiny_config(iterations=1), "validated", resume=True, validation=classes)


def test_a_loss_that_is_not_finite_stops_the_run_and_the_last_checkpoint_stays(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, calls = tiny_config(iterations=6), iter(range(1, 99))
    whole = brief(config, "whole")
    with monkeypatch.context() as patch:

        def sometimes_nan(*arguments: Any) -> tuple[Tensor, Tensor]:
            loss, accuracy = query_loss(*arguments)
            return loss * (float("nan") if next(calls) == 2 * 4 else 1), accuracy

        patch.setattr("edge_adapt.outer_loop.query_loss", sometimes_nan)
        message = refusal(lambda: brief(config))
    assert "loss is nan at outer step 4" in message and str(tmp_path / "run") in message
    assert load_checkpoint(tmp_path / "run").iteration == 3
    assert_same_run(brief(config, resume=True), whole)
    monkeypatch.setattr(
        "edge_adapt.outer_loop.query_loss", lambda *_: (torch.tensor(math.nan, requires_grad=True), torch.ones(()))
    )
    said = refusal(lambda: brief(config, "none", backbone=Small()))
    assert said.endswith("the loss is nan at outer step 1; try a lower learning rate.")


def test_weights_that_are_not_finite_never_reach_a_checkpoint(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, calls = torch.optim.Adam.step, iter(range(1, 99))

    def overflow(self: torch.optim.Adam, *arguments: Any) -> Any:
        step(self, *arguments)
        if next(calls) == 3:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(float("inf"))

    monkeypatch.setattr(torch.optim.Adam, "step", overflow)
    assert "a weight is not finite at outer step 3" in refusal(lambda: brief(tiny_config(iterations=3)))
    checkpoint = load_checkpoint(tmp_path / "run")
    assert checkpoint.iteration == 2
    assert all(tensor.isfinite().all() for tensor in checkpoint.learner.values())


def test_a_lack_of_memory_halves_the_piece_and_takes_the_step_anew(
    brief: Callable[..., Checkpoint],
    tiny_config: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny_config(iterations=5, meta_batch=8, augment=True)
    with monkeypatch.context() as patch:
        stop_at(3, patch)  # of two pieces of four, the second
        with pytest.raises(KeyboardInterrupt):
            brief(config, "expected", piece=4)
    reached = load_checkpoint(tmp_path / "expected")
    smaller = dataclasses.replace(reached, tuning=dataclasses.replace(reached.tuning, piece=2))
    run_module.save_checkpoint(tmp_path / "expected", smaller)
    expected = brief(config, "expected", resume=True, piece=None)
    with monkeypatch.context() as patch:
        stop_at(3, patch, error=MemoryError())
        assert_same_run(brief(config, piece=4), expected)
    assert load_checkpoint(tmp_path / "run").tuning.piece == 2
    said = capsys.readouterr().err.splitlines()
    assert said == ["memory does not suffice for 4 episodes at once; going on with 2"]


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({}, "a single episode; choose a smaller --way, --shot or --query."),
        ({"method": "maml"}, "a single episode; choose a smaller --way, --shot or --query, or take --recompute."),
        ({"method": "maml", "recompute": True}, "a single episode; choose a smaller --way, --shot or --query."),
    ],
    ids=["anil", "maml", "maml --recompute"],
)
def test_memory_for_not_even_one_episode_is_said_with_what_to_do(
    changes: dict[str, Any],
    remedy: str,
    brief: Callable[..., Checkpoint],
    tiny_config: Configure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny_config(iterations=3, **changes)
    stop_at(2, monkeypatch, error=torch.OutOfMemoryError("CUDA out of memory."))
    assert refusal(lambda: brief(config, backbone=Small())).endswith(remedy)
    assert load_checkpoint(tmp_path / "run").iteration == 1


SCARCE = """
import resource, sys
import torch
torch.set_num_threads(1)
from edge_adapt import curve, training
from edge_adapt.outer_loop import Episodic
from edge_adapt.configuration import TrainingConfig
from tests.gratings import gratings

curve.draw = lambda checkpoint: b""
data, config = gratings(16, 10), TrainingConfig(**eval(sys.argv[2]))
loss, calls = Episodic.loss, 0

def scarce(self, learner, count, spent=0.0):
    global calls
    calls += 1
    if calls == 2:  # the first outer step has taken what it needs, and gave it back
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + 40 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    return loss(self, learner, count if calls > 1 else 1, spent)

Episodic.loss = scarce
end = training.train(data, sys.argv[1], config, device="cpu", piece=64, bf16=False)
print(end.iteration, end.tuning.piece)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process as Linux does")
def test_a_process_with_little_memory_goes_on_with_smaller_pieces(tiny_config: Configure, tmp_path: Path) -> None:
    config = tiny_config(iterations=2, meta_batch=64)
    command = [sys.executable, "-c", SCARCE, str(tmp_path / "run"), repr(dataclasses.asdict(config))]
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    iteration, piece = map(int, ended.stdout.split())
    assert iteration == 2 and piece in (1, 2, 4, 8, 16, 32)
    halvings = [line for line in ended.stderr.splitlines() if line.startswith("memory does not suffice for")]
    assert len(halvings) == np.log2(64 / piece)
    assert load_checkpoint(tmp_path / "run").tuning.piece == piece


def test_a_learning_rate_that_is_absurd_is_named(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert "try a lower learning rate" in refusal(lambda: brief(tiny_config(learning_rate=1e30)))


def test_a_failed_write_leaves_the_old_checkpoint(
    brief: Callable[..., Checkpoint], tiny_config: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(iterations=2)
    brief(config)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    def fail(payload: object, stream: Any) -> None:
        stream.write(b"half a checkpoint")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    assert "the disk is full" in refusal(lambda: brief(config, resume=True))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def _torch_bytes(value: object) -> bytes:
    stream = io.BytesIO()
    torch.save(value, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        pytest.param(lambda data: data[: len(data) // 2], "is damaged", id="cut off"),
        pytest.param(lambda data: b"", "is damaged", id="empty"),
        pytest.param(lambda data: b"not a checkpoint", "is damaged", id="text"),
        pytest.param(lambda data: _torch_bytes(Path("not plain data")), "is damaged", id="code"),
        pytest.param(lambda data: _torch_bytes([1, 2]), "has version None", id="another object"),
        pytest.param(
            lambda data: _torch_bytes({"version": 99}),
            "version 99; this edge-adapt reads version 1",
            id="another version",
        ),
        pytest.param(lambda data: _torch_bytes({"version": 1}), "lacks a part ('config')", id="without parts"),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_named(
    damage: Callable[[bytes], bytes], expected: str, trained_run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage((trained_run / "checkpoint.pt").read_bytes()))
    message = refusal(lambda: load_learner(tmp_path))
    assert expected in message and str(path) in message


def test_a_folder_without_a_run_or_sample_is_named(tmp_path: Path) -> None:
    assert "there is no checkpoint.pt" in refusal(lambda: load_checkpoint(tmp_path))
    assert "sample.npz is missing or damaged" in refusal(lambda: load_sample(tmp_path))
    (tmp_path / "sample.npz").write_bytes(b"PK")
    assert "sample.npz is missing or damaged" in refusal(lambda: load_sample(tmp_path))


def test_a_run_is_not_loaded_into_another_module(trained_run: Path) -> None:
    assert "does not fit the backbone" in refusal(lambda: load_learner(trained_run, Small()))


# What cannot be trained


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "mmal"},
        {"head": "prototypes"},
        {"image_size": 0},
        {"n_way": 1},
        {"n_shot": 0},
        {"n_query": 0},
        {"steps": -1},
        {"meta_batch": 0},
        {"batch_size": 10**9},
        {"iterations": 0},
        {"iterations": None, "minutes": 0.0},
        {"iterations": None, "minutes": float("nan")},
        {"learning_rate": 0.0},
        {"learning_rate": float("inf")},
        {"seed": -1},
        {"seed": 2**32},
    ],
)
def test_a_configuration_that_cannot_be_is_named(changes: dict[str, Any], tiny_config: Configure) -> None:
    (name,) = (key for key in changes if key != "iterations" or len(changes) == 1)
    assert refusal(lambda: tiny_config(**changes)).startswith(f"{name} is {changes[name]!r}")


def test_the_largest_seed_trains(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert brief(tiny_config(iterations=1, seed=2**32 - 1)).iteration == 1


@pytest.mark.parametrize("budget", [{"iterations": 1, "minutes": 1.0}, {"iterations": None}])
def test_a_budget_is_iterations_or_minutes(
    budget: dict[str, Any], brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    assert "exactly one of the two" in refusal(lambda: brief(tiny_config(**budget)))


class Raising(nn.Module):
    """A backbone that takes other images."""

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("expected 3 channels\nand a lot more")


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (Raising(), "Raising fails on images of (28, 28, 1) (H, W, C) (expected 3 channels)"),
        (nn.Conv2d(1, 4, 3), "Conv2d gives [2, 4, 26, 26] for 2 images"),
        (nn.Flatten(0), "Flatten gives [1568] for 2 images"),
    ],
)
def test_a_backbone_that_gives_no_vectors_is_named(
    backbone: nn.Module, expected: str, brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    assert expected in refusal(lambda: brief(tiny_config(), backbone=backbone))


@pytest.mark.parametrize("method", ["maml", "fomaml"])
def test_batch_norm_under_an_inner_loop_on_all_layers_is_refused(
    method: str, brief: Callable[..., Checkpoint], tiny_config: Configure
) -> None:
    own = nn.Sequential(nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.Flatten())
    assert "use a backbone with GroupNorm" in refusal(lambda: brief(tiny_config(method=method), backbone=own))


def test_a_backbone_that_nobody_knows_is_named(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    said = refusal(lambda: brief(tiny_config(backbone="conv5")))
    assert "'conv5' is not a backbone known by name (conv4, edge, resnet12, timm:NAME)" in said


def test_data_that_does_not_fit_is_named(training_data: ImageDataset, tiny_config: Configure, tmp_path: Path) -> None:
    def start(data: ImageDataset, **options: Any) -> str:
        changes = options.pop("changes", {})
        return refusal(
            lambda: train(data, tmp_path / "run", tiny_config(**changes), device="cpu", **options), DataError
        )

    assert "17 ways need as many classes and there are 16" in start(training_data, changes={"n_way": 17})
    assert "has 10 images where an episode takes 11" in start(training_data, changes={"n_query": 10})
    small = gratings(16, 10, size=16)
    assert "was read as (16, 16, 1) and the configuration takes (28, 28, 1)" in start(small)
    assert "was read as (16, 16, 1)" in start(training_data, validation=small)
    assert "has 1 images where an episode takes 2" in start(training_data, validation=gratings(5, 1))
    assert "2 ways need as many classes and there are 1" in start(training_data, validation=gratings(1, 9))
    flat = dataclasses.replace(training_data, images=np.full_like(training_data.images, 7))
    assert "the same flat colour" in start(flat)
    assert not (tmp_path / "run").exists()


def test_a_piece_must_divide_the_meta_batch(brief: Callable[..., Checkpoint], tiny_config: Configure) -> None:
    assert "a piece of 3 does not divide the 2 of an outer step" in refusal(lambda: brief(tiny_config(), piece=3))


def test_a_batch_that_leaves_single_images_to_processes_is_refused(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_adapt.training.distributed.processes", lambda: 3)
    monkeypatch.setattr("edge_adapt.training.distributed.of_first", lambda compute: compute())
    monkeypatch.setattr("edge_adapt.training.distributed.copy_from_first", lambda tensors: None)
    said = refusal(lambda: brief(tiny_config(method="classify", batch_size=127), piece=None))
    assert said.startswith("127 images in a step leave single ones to 3 processes") and said.endswith("such as 132.")


def test_one_flat_channel_is_no_flat_image(tmp_path: Path, tiny_config: Configure) -> None:
    data = gratings(6, 5)
    red = np.concatenate([data.images, np.zeros_like(data.images), np.full_like(data.images, 255)], axis=-1)
    config = tiny_config(grayscale=False, iterations=1)
    checkpoint = train(
        dataclasses.replace(data, images=red), tmp_path / "run", config, device="cpu", piece=1, bf16=False
    )
    assert all(tensor.isfinite().all() for tensor in checkpoint.learner.values())


def test_cuda_that_does_not_come_up_is_named(
    brief: Callable[..., Checkpoint], tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "this PyTorch is a CPU build" in refusal(lambda: brief(tiny_config(), device="cuda"))
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert "no working NVIDIA driver" in refusal(lambda: brief(tiny_config(), device="cuda"))
