"""train --resume RUN: a run that was stopped goes on without being told anything again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

from edge_adapt.training import trainer
from edge_adapt.training.checkpoint import load_checkpoint
from edge_adapt.training.run import load_learner
from tests.command_line import complaint, succeeded, tree
from tests.command_line import edge_adapt as command
from tests.gratings import gratings, write_images
from tests.training_runs import assert_same_run, stop_at

OPTIONS = ["--grayscale", "--way=4", "--meta-batch=2", "--micro-batch=1", "--no-bf16", "--device=cpu", "--iterations=4"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """12 classes of 5 images, a list of those to train on and one of those to validate on."""
    for name, classes in (("train", range(8)), ("val", range(8, 12))):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"grating {index:02d}" for index in classes), encoding="utf-8")
    return write_images(tmp_path / "gratings", gratings(12, 5))


@pytest.fixture
def stopped(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that was interrupted in its third outer step; all paths it was given are relative."""
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "CHECKPOINT_SECONDS", -1)
        stop_at(3, patch)
        listings = ["--classes", "train.txt", "--val-classes", "val.txt"]
        result = command("train", "gratings", "-o", "run", *listings, *OPTIONS)
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "run keeps its last checkpoint; go on with: edge-adapt train --resume run"
    assert load_checkpoint("run").iteration == 2
    return tmp_path / "run"


def test_a_run_knows_its_data_its_classes_and_its_settings(
    stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = ["--classes", "train.txt", "--val-classes", "val.txt"]
    succeeded(command("train", "gratings", "-o", "whole", *listings, *OPTIONS))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert f"{stopped}: 4 outer steps" in succeeded(command("train", "--resume", stopped))
    assert_same_run(load_checkpoint(stopped), load_checkpoint(tmp_path / "whole"))
    assert "--resume had nothing to train" in succeeded(command("train", "--resume", stopped))


def test_data_that_moved_are_found_where_they_are_said_to_lie(stopped: Path, data: Path, tmp_path: Path) -> None:
    moved = data.rename(tmp_path / "moved")
    said = complaint(command("train", "--resume", stopped))
    assert f"was trained on {data}, and {data} is no longer there; put it back, or give the new place" in said
    succeeded(command("train", moved, "--resume", stopped))
    (tmp_path / "val.txt").unlink()
    assert f"{tmp_path / 'val.txt'} is no longer there" in complaint(command("train", moved, "--resume", stopped))


def test_data_that_changed_are_named(stopped: Path, data: Path) -> None:
    (data / "grating 03" / "000.png").unlink()
    before = tree(stopped)
    said = complaint(command("train", "--resume", stopped))
    assert f"{stopped} was trained on other data than {data} has now (gratings (train.txt): 8 classes" in said
    assert tree(stopped) == before


def test_what_is_settled_is_not_said_again(stopped: Path) -> None:
    for option in ("--way=3", "--iterations=9", "--minutes=1", "--no-augment", "--method=maml", "-o=x"):
        said = complaint(command("train", "--resume", stopped, option), status=2)
        name = "--output" if option == "-o=x" else option.partition("=")[0].replace("--no-", "--")
        assert said == f"--resume goes on with a run as it began; leave out {name}."


def test_how_it_is_computed_may_change(stopped: Path) -> None:
    succeeded(command("train", "--resume", stopped, "--micro-batch=2", "--threads=1"))
    assert load_checkpoint(stopped).execution.micro_batch == 2


def test_a_folder_without_a_run_or_what_it_was_given_is_named(stopped: Path, tmp_path: Path) -> None:
    assert f"{tmp_path} holds no run that has begun" in complaint(command("train", "--resume", tmp_path))
    for text in (None, "{"):
        (stopped / "origin.json").unlink() if text is None else (stopped / "origin.json").write_text(text)
        assert "origin.json is missing or damaged" in complaint(command("train", "--resume", stopped))


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = complaint(command("train", tmp_path / "no data", "-o", tmp_path / "file" / "run"))
    assert said.startswith(f"{tmp_path / 'file' / 'run'} cannot be the folder of a run (")
    assert "no data" in complaint(command("train", tmp_path / "no data", "-o", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


WITHOUT_A_CURVE = """
from edge_adapt.cli import main
from edge_adapt.training import curve

curve.draw = lambda checkpoint: b""
main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_stops_at_the_end_of_a_step_which_is_kept(number: signal.Signals, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = [option for option in OPTIONS if "iterations" not in option] + ["--iterations=100000", "--threads=1"]
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # or a test in the background hands on that it is ignored
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_A_CURVE, "train", str(data), "-o", str(run), *options],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "TORCH_COMPILE_DISABLE": "1"},
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    while not (run / "curve.png").exists():  # the last that is written of the start
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == f"{run} keeps its last checkpoint; go on with: edge-adapt train --resume {run}"
    checkpoint = load_checkpoint(run)
    assert checkpoint.iteration > 0  # the checkpoint before was that of the start
    assert all(tensor.isfinite().all() for tensor in load_learner(run)[0].state_dict().values())
