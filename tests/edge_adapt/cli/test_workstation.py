"""evaluate of a run, and export: the command line over a run of a few seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from edge_adapt import extras
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.training.checkpoint import load_checkpoint
from tests.command_line import SMALL, complaint, json_lines, succeeded
from tests.command_line import edge_adapt as command
from tests.gratings import gratings, write_images


def test_the_bundle_of_a_run_is_as_accurate_as_the_run(trained: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    said = succeeded(
        command("export", trained[0], "-o", tmp_path / "model.edge", "--name", "stripes", "--license", "CC0-1.0")
    )
    best = load_checkpoint(trained[0]).best
    assert best and f"The model after outer step {best.iteration} of 6, the best: {best.validation:.2%}" in said
    assert said.count("\n  ok ") > 20
    assert "accuracy over 20 episodes" in said
    assert f"Saved {tmp_path / 'model.edge'}" in said
    manifest = Bundle.open(tmp_path / "model.edge").manifest
    assert (manifest.name, manifest.license) == ("stripes", "CC0-1.0")
    assert manifest.trained_on == "gratings (train.txt): 8 classes, 40 images"
    arguments = [
        str(data),
        "--classes",
        str(data.parent / "val.txt"),
        "--way",
        "4",
        "--query",
        "4",
        "--episodes",
        "50",
        "--json",
    ]
    (of_bundle,) = json_lines(succeeded(command("evaluate", tmp_path / "model.edge", *arguments)))
    (of_run,) = json_lines(succeeded(command("evaluate", trained[0], *arguments, "--provider", "cpu")))
    assert of_bundle.pop("accuracy") == pytest.approx(of_run.pop("accuracy"), abs=2e-3)
    assert of_bundle.pop("ci95") == pytest.approx(of_run.pop("ci95"), abs=2e-3)
    assert of_bundle.pop("model") == str(tmp_path / "model.edge")
    assert of_run.pop("model") == str(trained[0])
    assert of_bundle == of_run
    assert "self-check     passed" in succeeded(command("info", tmp_path / "model.edge"))


def test_a_bundle_in_8_bits(trained: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.edge"
    # A run of a few steps has features whose accuracy moves with their last bits.
    said = succeeded(
        command("export", trained[0], "-o", path, "--precision", "int8", "--calibrate", data, "--allow-drop", "50")
    )
    assert "int8 beside fp32: cosine" in said
    assert "4-shot" in said  # the sample has five images a class
    assert "precision      int8" in succeeded(command("info", path))
    (info,) = json_lines(succeeded(command("info", path, "--json")))
    assert info["precision"] == "int8"


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--calibrate", "photos"], "--calibrate"),
        (["--calibrate", "photos", "--precision", "fp16"], "--calibrate"),
        (["--allow-drop", "2"], "--allow-drop"),
    ],
)
def test_options_of_another_precision_are_wrong_usage(arguments: list[str], option: str) -> None:
    assert option in complaint(command("export", "run", "-o", "model.edge", *arguments), status=2)


def test_images_to_calibrate_with_that_are_missing_or_damaged(trained: tuple[Path, str], tmp_path: Path) -> None:
    export: list[str | Path] = [
        "export",
        trained[0],
        "-o",
        tmp_path / "model.edge",
        "--precision",
        "int8",
        "--calibrate",
    ]
    assert str(tmp_path / "nowhere") in complaint(command(*export, tmp_path / "nowhere"))
    few = write_images(tmp_path / "few", gratings(2, 5))
    (few / "grating 00" / "000.png").write_bytes(b"no image")
    assert str(few / "grating 00" / "000.png") in complaint(command(*export, few))
    assert not (tmp_path / "model.edge").exists()


def test_all_layers_of_a_maml_run(trained: tuple[Path, str], data: Path, tmp_path: Path) -> None:
    succeeded(command("train", data, "-o", tmp_path / "maml", *SMALL, "--method", "maml", "--iterations", "1"))
    said = succeeded(command("evaluate", tmp_path / "maml", data, "--all-layers", "--episodes", "2", "--query", "2"))
    assert "2 steps on all layers" in said
    assert "anil" in complaint(command("evaluate", trained[0], data, "--all-layers"))


def test_what_is_no_run_is_neither_exported_nor_evaluated(data: Path, tmp_path: Path) -> None:
    for folder in (data, tmp_path / "nowhere"):
        assert str(folder) in complaint(command("export", folder, "-o", tmp_path / "model.edge"))
    assert "checkpoint.pt" in complaint(command("evaluate", data, data))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["train", "data", "-o", "run"], ["export", "run", "-o", "model.edge"], ["compare", "run"]]
)
@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript", "matplotlib"])
def test_without_the_training_extra_the_command_to_install_it_is_named(
    arguments: list[str], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else object())
    sentence = complaint(command(*arguments))
    assert package in sentence
    assert 'pip install "edge-adapt[train]"' in sentence
