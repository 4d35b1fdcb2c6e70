"""`compare`: the figures of several runs side by side, and a picture of their validation curves."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageColor

pytest.importorskip("torch")

from edge_adapt.reports import runs as comparison
from edge_adapt.reports.runs import COLOURS, Axis, ComparedRun, compare, picture, table
from edge_adapt.training.checkpoint import Checkpoint, Record, Snapshot
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import save_checkpoint
from tests.command_line import complaint, json_lines, succeeded
from tests.command_line import edge_adapt as command

Configure = Callable[..., TrainingConfig]


def checkpoint_of(
    config: TrainingConfig, accuracies: list[float | None], *, best: int | None = None, done: int = 40
) -> Checkpoint:
    """A run whose records are 10 steps and a minute and a half apart."""
    records = [
        Record(10 * number, 90.0 * number, 2 / number, 0.5, accuracy) for number, accuracy in enumerate(accuracies, 1)
    ]
    kept = None if best is None else Snapshot(10 * best, accuracies[best - 1], {})
    return Checkpoint(
        config, "gratings: 8 classes, 40 images", Execution(1, False), done, 9.0 * done, {}, {}, records,
        best=kept, validated_on="4 classes, 4-way 1-shot" if any(accuracies) else "",
    )  # fmt: skip


def save(run: Path, checkpoint: Checkpoint) -> Path:
    run.mkdir(parents=True)
    save_checkpoint(run, checkpoint)
    return run


@pytest.fixture
def runs(tmp_path: Path, tiny_config: Configure) -> list[Path]:
    """Three runs with validation, one of which stopped early and one of which has not ended, and one without."""
    accuracies: list[float | None] = [0.5, 0.7, None, 0.6]
    return [
        save(tmp_path / "anil", checkpoint_of(tiny_config(), accuracies, best=2)),
        save(tmp_path / "maml", checkpoint_of(tiny_config(method="maml", iterations=90, patience=2),
                                              [0.9, 0.3, None, 0.2], best=1)),
        save(tmp_path / "more", checkpoint_of(tiny_config(iterations=1000, backbone="edge", n_way=3), [None, 0.4, 0.5], best=3,
                                              done=37)),
        save(tmp_path / "blind", checkpoint_of(tiny_config(), [None, None, None, None])),
    ]  # fmt: skip


def test_the_table_says_what_each_run_is_and_has_reached(runs: list[Path]) -> None:
    said = succeeded(command("compare", *runs))
    heading, *lines = said.splitlines()
    starts = [heading.index(name) for name in ("run", "method", "backbone", "episodes", "state")]
    rows = [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for line in lines]
    assert [row[:4] for row in rows] == [
        [str(runs[0]), "anil", "conv4", "5-way 1-shot"],
        [str(runs[1]), "maml", "conv4", "5-way 1-shot"],
        [str(runs[2]), "anil", "edge", "3-way 1-shot"],
        [str(runs[3]), "anil", "conv4", "5-way 1-shot"],
    ]
    tails = [" ".join(row[4].split()) for row in rows]
    trained = "gratings: 8 classes, 40 images"
    assert tails == [
        f"finished 40 6.0 70.00% 20 0.500 4 classes, 4-way 1-shot {trained}",
        f"stopped early 40 6.0 90.00% 10 0.500 4 classes, 4-way 1-shot {trained}",
        f"unfinished 37 5.5 50.00% 30 0.667 4 classes, 4-way 1-shot {trained}",
        f"finished 40 6.0 - 40 0.500 - {trained}",
    ]
    assert all(line == line.rstrip() for line in said.splitlines())


def test_json_holds_the_same_and_every_validation(runs: list[Path]) -> None:
    (found,) = json_lines(succeeded(command("compare", runs[2], "--json")))
    assert found == {
        "runs": [
            {
                "run": str(runs[2]), "state": "unfinished", "method": "anil", "backbone": "edge", "n_way": 3, "n_shot": 1,
                "iterations": 37, "seconds": 333.0, "exported": {"iteration": 30, "validation": 0.5}, "loss": 2 / 3,
                "trained_on": "gratings: 8 classes, 40 images", "validated_on": "4 classes, 4-way 1-shot",
                "validations": [
                    {"iteration": 20, "seconds": 180.0, "accuracy": 0.4}, {"iteration": 30, "seconds": 270.0, "accuracy": 0.5},
                ],
            }
        ]
    }  # fmt: skip


def test_each_stage_of_a_recipe_is_a_line(tmp_path: Path, tiny_config: Configure) -> None:
    save(tmp_path / "run" / "1-pretrain", checkpoint_of(tiny_config(method="pretrain"), [0.1, 0.2, 0.3, 0.4]))
    save(tmp_path / "run" / "2-episodes", checkpoint_of(tiny_config(), [0.5, 0.6, 0.4, 0.3], best=2))
    (tmp_path / "run" / "recipe.json").write_text("{}", encoding="utf-8")
    compared = compare([tmp_path / "run"])
    assert [run.name for run in compared] == [str(tmp_path / "run" / name) for name in ("1-pretrain", "2-episodes")]
    assert [run.checkpoint.exported.iteration for run in compared] == [40, 20]
    assert table(compared).count("\n") == 2


def test_what_is_no_run_is_named(runs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for none in ("photos", "missing"):
        sentence = complaint(command("compare", runs[0], tmp_path / none))
        assert sentence.startswith(f"{tmp_path / none}: there is no checkpoint.pt")
    (runs[1] / "checkpoint.pt").write_bytes(b"nonsense")
    assert "is damaged" in complaint(command("compare", *runs))
    complaint(command("compare"), status=2)
    assert "ends in .png" in complaint(command("compare", runs[0], "-o", tmp_path / "x.svg"), status=2)
    assert "no curve to draw" in complaint(command("compare", runs[3], "-o", tmp_path / "x.png"))
    assert not list(tmp_path.glob("x.*"))


@pytest.mark.parametrize("against", ["steps", pytest.param("minutes", marks=pytest.mark.slow)])
def test_the_picture_shows_a_curve_of_each_run_that_has_one(runs: list[Path], tmp_path: Path, against: str) -> None:
    path = tmp_path / "compare.png"
    said = succeeded(command("compare", *runs, "-o", path, "--against", against))
    assert f"Curves: {path} (without 1 run that has no validation)" in said
    assert _curves_in(path.read_bytes()) == set(COLOURS[:3])


@pytest.mark.parametrize("against", ["steps", pytest.param("minutes", marks=pytest.mark.slow)])
def test_a_run_that_only_got_worse_than_its_start_is_drawn(against: Axis, tiny_config: Configure) -> None:
    worse = checkpoint_of(tiny_config(), [0.3, 0.2], best=1)
    assert worse.best is not None
    started = replace(worse, best=replace(worse.best, iteration=0, validation=0.4))
    assert _curves_in(picture([ComparedRun("run", started)], against)) == set(COLOURS[:1])


def test_many_runs_are_told_apart_too(tiny_config: Configure) -> None:
    many = [
        ComparedRun(f"runs/{n}", checkpoint_of(tiny_config(), [0.3, 0.3 + n / 30, 0.4, 0.2], best=2)) for n in range(12)
    ]
    assert _curves_in(picture(many)) == set(COLOURS)
    assert len({(COLOURS[n % len(COLOURS)], n // len(COLOURS)) for n in range(28)}) == 28


def _curves_in(png: bytes) -> set[str]:
    """The colours of curves that a picture has."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        found = {pixel for _, pixel in image.convert("RGB").getcolors(1 << 24) or []}
    return {colour for colour in COLOURS if ImageColor.getrgb(colour) in found}


def test_accuracies_of_other_episodes_are_told_apart(tiny_config: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(comparison, "_draw", lambda *arguments: drawn.append(arguments[-1]))
    monkeypatch.setattr(comparison, "_label_ends", lambda axes: None)
    one = ComparedRun("a/one", checkpoint_of(tiny_config(), [0.3], best=1))
    two = ComparedRun("a/b/two", replace(one.checkpoint, validated_on="9 classes, 5-way 5-shot"))
    picture([one, replace(one, name="a/b/two")])
    picture([one, two])
    assert drawn == ["one", "b/two", "one (4 classes, 4-way 1-shot)", "b/two (9 classes, 5-way 5-shot)"]
