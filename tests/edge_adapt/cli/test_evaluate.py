"""evaluate of a classifier and of a meta-model."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import edge_adapt
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from tests.command_line import COLOURS, complaint, json_lines, succeeded, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY


@pytest.fixture
def photos(mine: Path) -> Path:
    """What `mine` was taught with."""
    return mine.parent / "support"


@pytest.fixture
def query(tmp_path: Path) -> Path:
    """Images that are not in `photos`."""
    return write_photos(tmp_path / "query", dict.fromkeys(COLOURS, 3), seed=1)


def test_evaluate_says_how_good_a_classifier_is(mine: Path, query: Path) -> None:
    Image.new("RGB", (9, 9), COLOURS["red"]).save(query / "green" / "wrong.png")
    said = succeeded(command("evaluate", mine, query))
    assert said.startswith("92.31%: 12 of 13 images right")
    assert "green taken for red: 1 time" in said
    rows = {line.split()[0]: line.split()[1:3] for line in said.splitlines() if line and line.split()[0] in COLOURS}
    assert rows["blå"] == ["3", "3"]
    assert rows["yellow"] == ["3", "3"]
    (value,) = json_lines(succeeded(command("evaluate", mine, query, "--json")))
    keys = ("accuracy", "ci95", "episodes", "n_way", "n_shot", "n_query", "steps", "seed", "model", "images")
    assert set(keys) < set(value)
    assert value["accuracy"] == pytest.approx(12 / 13)
    assert (value["n_way"], value["images"], value["in_support"], value["model"]) == (4, 13, 0, str(mine))
    assert value["confusions"] == [{"label": "green", "predicted": "red", "images": 1}]
    assert value["classes"]["green"] == {"images": 4, "right": 3}  # type: ignore[index]


def test_evaluate_says_when_it_is_asked_about_the_support_set(mine: Path, photos: Path) -> None:
    assert "8 images of these taught the classifier" in succeeded(command("evaluate", mine, photos))


def test_evaluate_names_classes_that_the_classifier_does_not_know(mine: Path, query: Path) -> None:
    (query / "red").rename(query / "crimson")
    sentence = complaint(command("evaluate", mine, query))
    assert "crimson" in sentence
    assert "blå, green, red, yellow" in sentence


@pytest.mark.parametrize("option", [["--way", "3"], ["--rotations"], ["--steps", "2"], ["--all-layers"]])
def test_evaluate_refuses_options_that_say_nothing_of_a_classifier(mine: Path, query: Path, option: list[str]) -> None:
    assert option[0] in complaint(command("evaluate", mine, query, *option), status=2)


def test_evaluate_over_episodes_agrees_with_the_api(query: Path) -> None:
    arguments = ["--way", "3", "--query", "2", "--episodes", "20", "--seed", "4"]
    (value,) = json_lines(succeeded(command("evaluate", TINY, query, *arguments, "--json")))
    model = edge_adapt.load_model(TINY)
    data = edge_adapt.load_dataset(query, model.manifest.preprocessing)
    result = edge_adapt.evaluate(TINY, data, EvaluationProtocol(n_way=3, n_query=2, episodes=20, seed=4))
    assert value == {
        "accuracy": result.accuracy, "ci95": result.ci95, "episodes": 20, "n_way": 3, "n_shot": 1, "n_query": 2,
        "steps": 3, "seed": 4, "support_files": None, "query_files": None, "model": str(TINY),
    }  # fmt: skip
    said = succeeded(command("evaluate", TINY, query, *arguments))
    assert said.startswith(
        f"{result.accuracy:.2%} +- {result.ci95:.2%} (95% confidence over 20 episodes), 3-way 1-shot"
    )


def test_evaluate_takes_lists_of_classes_and_rotations(query: Path, tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("red\ngreen\n", encoding="utf-8")
    arguments = ["--classes", str(tmp_path / "some.txt"), "--query", "1", "--episodes", "5"]
    assert "there are 2" in complaint(command("evaluate", TINY, query, *arguments, "--way", "3"))
    succeeded(command("evaluate", TINY, query, *arguments, "--way", "8", "--rotations"))
