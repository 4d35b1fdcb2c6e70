"""train: the command line over a run of a few seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.training.checkpoint import load_checkpoint
from edge_adapt.training.compute import Compute
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.validation import Validation
from tests.command_line import SMALL, complaint, succeeded, tree
from tests.command_line import edge_adapt as command
from tests.gratings import gratings, write_images


@pytest.fixture
def configuration(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Filled with what the command line passes to `train`, which does nothing."""
    passed: dict[str, Any] = {}

    def record(data: object, run: object, config: TrainingConfig, **others: object) -> None:
        passed.update(others, config=config, data=data)
        raise EdgeAdaptError("recorded.")

    monkeypatch.setattr("edge_adapt.cli.train_process.train", record)
    return passed


def test_train_leaves_a_run_and_says_what_came_of_it(trained: tuple[Path, str]) -> None:
    run, said = trained
    checkpoint = load_checkpoint(run)
    assert checkpoint.config == TrainingConfig.of(
        grayscale=True, n_way=4, n_query=4, steps=2, meta_batch=2, iterations=6, seed=3
    )  # the smallest class leaves four images to ask about
    assert {path.name for path in run.iterdir()} >= {"checkpoint.pt", "run.json", "metrics.csv", "curve.png"}
    assert "training: 8 classes, 40 images" in said
    assert "validation: 4 classes, 20 images" in said
    best = checkpoint.best
    assert best and best.validation is not None
    assert (
        f"Exports: outer step {best.iteration} of 6, the best: {best.validation:.2%} on validation classes "
        "(4 classes, 4-way 1-shot)" in said
    )
    assert f"edge-adapt export {run} -o" in said


def test_a_run_names_its_data_but_not_where_they_lay(trained: tuple[Path, str], data: Path) -> None:
    described = json.loads((trained[0] / "run.json").read_text(encoding="utf-8"))["trained_on"]
    assert described == "gratings (train.txt): 8 classes, 40 images"
    assert str(data.parent) not in described


def test_the_data_are_described_before_rotation(data: Path, listings: list[str], configuration: dict[str, Any]) -> None:
    complaint(command("train", data, "-o", data.parent / "none", *listings, *SMALL, "--rotations", "--minutes", "1"))
    assert configuration["data"].description == "gratings (train.txt): 8 classes, 40 images, in four rotations each"
    assert len(configuration["data"].class_names) == 32
    assert len(configuration["validation"].class_names) == 16


def test_every_option_reaches_the_configuration(data: Path, configuration: dict[str, Any]) -> None:
    options = {
        "method": "fomaml", "initialization": "zero", "image-size": 20, "part": 0.8, "way": 3, "shot": 2, "query": 1, "steps": 7,
        "meta-batch": 6, "learning-rate": 0.01, "iterations": 11, "seed": 5, "micro-batch": 3,
    }  # fmt: skip
    pairs = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    assert complaint(command("train", data, "-o", "x", *pairs, "--grayscale", "--augment", "--bf16")) == "recorded."
    assert configuration["config"] == TrainingConfig.of(
        method="fomaml", initialization="zero", image_size=20, part=0.8, grayscale=True, n_way=3, n_shot=2, n_query=1, steps=7,
        meta_batch=6, learning_rate=0.01, augment=True, iterations=11, seed=5,
    )  # fmt: skip
    assert configuration["compute"] == Compute(micro_batch=3, bf16=True)
    assert configuration["data"].images.shape == (60, 20, 20, 1)


def test_a_run_without_a_budget_gets_one(data: Path, configuration: dict[str, Any]) -> None:
    complaint(command("train", data, "-o", "x"))
    assert (configuration["config"].iterations, configuration["config"].minutes) == (
        None,
        30.0,
    )
    complaint(command("train", data, "-o", "x", "--iterations", "5"))
    assert (configuration["config"].iterations, configuration["config"].minutes) == (5, None)


def test_a_run_that_stopped_early_says_so_and_is_not_trained_on(
    data: Path, listings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = iter((0.6, 0.5, 0.4, 0.9))
    monkeypatch.setattr(Validation, "accuracy", lambda *_: next(accuracies))
    said = succeeded(
        command("train", data, "-o", tmp_path / "run", *listings, *SMALL, "--iterations", "4", "--patience", "2")
    )
    assert "3 outer steps in" in said
    assert "Stopped early: 2 validations in a row brought no better state." in said
    assert "Exports: outer step 1 of 3, the best: 60.00%" in said
    again = succeeded(command("train", "--resume", tmp_path / "run"))
    assert "Stopped early" in again and "--resume had nothing to train" in again
    compared = succeeded(command("compare", tmp_path / "run"))
    assert "stopped early" in compared and "60.00%" in compared
    assert "validation classes" in complaint(command("train", data, "-o", tmp_path / "x", *SMALL, "--patience", "2"))


def test_a_run_starts_from_another_and_takes_its_kind_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_images(tmp_path / "data", gratings(6, 6))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = ["--device", "cpu", "--no-bf16", "--iterations", "1", "--learning-rate", "1e-9"]
    like = [
        "--method",
        "pretrain",
        "--grayscale",
        "--image-size",
        "20",
        "--part",
        "0.75",
        "--centred",
        "--batch-size",
        "8",
    ]
    succeeded(command("train", data, "-o", tmp_path / "first", *like, *options))
    first = load_checkpoint(tmp_path / "first")
    for method in ("anil", "head-only"):
        start = ["--start-from", str(tmp_path / "first"), "--method", method, "--way", "4", "--steps", "3"]
        succeeded(command("train", data, "-o", tmp_path / method, *start, *options))
        reached = load_checkpoint(tmp_path / method)
        assert (reached.config.image_size, reached.config.grayscale, reached.config.centred) == (20, True, True)
        assert reached.config.preprocessing == Preprocessing(20, 20, 1, part=0.75, ground="light")
        name = "embedding.backbone.convolutions.0.weight"
        assert (reached.learner[name] - first.learner[name]).abs().max() < 1e-6
    said = complaint(command("train", data, "-o", tmp_path / "none", "--method", "head-only", *options))
    assert "give a run with --start-from, or take --pretrained" in said
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--batch-size", "8"], "batch_size is not for the method anil; leave it out."),
        (["--method", "head-only", "--crop-size", "8"], "crop_size is not for the method head-only; leave it out."),
        (["--method", "pretrain", "--meta-batch", "2"], "meta_batch is not for the method pretrain; leave it out."),
        (["--method", "pretrain", "--crop-size", "8"], "crop_size is of crops of RGB images with --augment"),
        (
            ["--method", "pretrain", "--crop-size", "8", "--augment", "--grayscale"],
            "crop_size is of crops of RGB images",
        ),
    ],
)
def test_options_without_a_use_are_refused(options: list[str], said: str, data: Path, tmp_path: Path) -> None:
    assert complaint(command("train", data, "-o", tmp_path / "run", *options)).startswith(said)


@pytest.mark.parametrize("option", [["--micro-batch", "2"], ["--start-from", "."]])
def test_options_of_one_stage_are_not_for_a_recipe(
    option: list[str], trained: tuple[Path, str], data: Path, tmp_path: Path
) -> None:
    option = [str(trained[0]) if text == "." else text for text in option]
    said = complaint(command("train", data, "-o", tmp_path / "run", "--recipe", "conv4", *option), status=2)
    assert said == f"{option[0]} is about one stage, and a recipe has several; leave it out."


def test_a_run_is_not_written_over(trained: tuple[Path, str], data: Path, listings: list[str]) -> None:
    before = tree(trained[0])
    assert "--resume" in complaint(command("train", data, "-o", trained[0], *listings, *SMALL, "--iterations", "6"))
    assert tree(trained[0]) == before


def test_classes_to_train_and_to_validate_on_must_differ(data: Path, listings: list[str]) -> None:
    sentence = complaint(command("train", data, "-o", data.parent / "none", *listings[2:], *SMALL))
    assert "4 classes are listed both to train and to validate on, such as grating 08" in sentence
    assert not (data.parent / "none").exists()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA error: out of memory\nand a lot more")])
def test_too_little_memory_is_said_in_a_sentence(
    error: Exception, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scarce(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("edge_adapt.cli.train_process.train", scarce)
    assert "not enough memory for this" in complaint(command("train", data, "-o", tmp_path / "run", "--way", "4"))


def test_two_budgets_are_wrong_usage(data: Path) -> None:
    sentence = complaint(command("train", data, "-o", "x", "--iterations", "5", "--minutes", "1"), status=2)
    assert "--minutes" in sentence


@pytest.mark.parametrize("option", ["steps", "meta-batch", "seed"])
def test_a_setting_beyond_all_bounds(data: Path, tmp_path: Path, option: str) -> None:
    message = complaint(command("train", data, "-o", tmp_path / "run", f"--{option}={10**20}"))
    assert message.startswith(f"{option.replace('-', '_')} is {10**20}; take ")
    assert not (tmp_path / "run").exists()


def test_too_few_classes_or_images_for_the_episodes(data: Path, tmp_path: Path) -> None:
    for arguments, option in ((["--way", "13"], "--way"), (["--way", "4", "--shot", "5"], "--shot")):
        assert option in complaint(command("train", data, "-o", tmp_path / "run", *arguments))
    assert not (tmp_path / "run").exists()
