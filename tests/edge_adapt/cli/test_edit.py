"""The commands that edit a classifier in its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_adapt.runtime.model import load_classifier
from tests.command_line import complaint, edge_adapt, succeeded, write_photos
from tests.conftest import TINY


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", {"red": 3, "green": 3, "yellow": 3})


@pytest.fixture
def mine(photos: Path, tmp_path: Path) -> Path:
    path = tmp_path / "mine.edge"
    write_photos(tmp_path / "first", {"red": 3, "green": 3})
    succeeded(edge_adapt("adapt", tmp_path / "first", "-o", path, "--model", TINY))
    return path


def test_a_class_comes_and_goes_and_comes_again(mine: Path, photos: Path) -> None:
    said = succeeded(edge_adapt("add", mine, "yellow", photos / "yellow"))
    assert "Done: add yellow: 3 images\n" in said and f"{mine}: 3 classes, 9 images\nExpect about" in said
    assert "yellow" in succeeded(edge_adapt("classify", mine, photos / "yellow" / "0.png"))
    assert "Done: rename yellow to gold" in succeeded(edge_adapt("rename", mine, "yellow", "gold"))
    assert "2 classes, 6 images" in succeeded(edge_adapt("remove", mine, "gold"))
    said = succeeded(edge_adapt("undo", mine))
    assert "Undone: remove gold; `edge-adapt redo` does it again." in said and "3 classes, 9 images" in said
    assert "2 classes, 6 images" in succeeded(edge_adapt("redo", mine))
    shown = succeeded(edge_adapt("undo", mine)) and succeeded(edge_adapt("log", mine))
    marks = [(line[0], line[24:]) for line in shown.splitlines()]
    assert marks == [(" ", "add yellow: 3 images"), (" ", "rename yellow to gold"), ("-", "remove gold")]
    lines = [json.loads(line) for line in succeeded(edge_adapt("log", mine, "--json")).splitlines()]
    assert [(line["lost"], line["gained"], line["done"]) for line in lines] == [
        (0, 3, True),
        (3, 3, True),
        (3, 0, False),
    ]


def test_with_an_output_the_original_stays(mine: Path, tmp_path: Path) -> None:
    before = mine.read_bytes()
    succeeded(edge_adapt("merge", mine, "red", "--into", "rouge", "-o", tmp_path / "new.edge"))
    assert mine.read_bytes() == before and load_classifier(tmp_path / "new.edge").labels == ("green", "rouge")
    assert "was never edited" in succeeded(edge_adapt("log", mine))
    assert "to be read, and would be lost" in complaint(edge_adapt("strip", mine, "-o", mine))


def test_a_mistake_is_corrected(mine: Path, photos: Path) -> None:
    image = photos / "yellow" / "0.png"
    assert "Done: correct 0.png: red" in succeeded(edge_adapt("correct", mine, image, "red"))
    assert succeeded(edge_adapt("classify", mine, image)).split("\t")[1] == "red"
    assert "is an image of 'red' already" in complaint(edge_adapt("correct", mine, image, "red"))
    succeeded(edge_adapt("correct", mine, image, "--not", "red"))
    assert load_classifier(mine).support.counts == {"green": 3, "red": 3}
    succeeded(edge_adapt("correct", mine, image, "--not", "red"))
    assert load_classifier(mine).support.counts == {"green": 3, "red": 3, "_other": 1}
    for arguments in ([], ["red", "--not", "green"]):
        assert "give either CLASS" in complaint(edge_adapt("correct", mine, image, *arguments), 2)


def test_a_stripped_classifier_names_no_image(mine: Path) -> None:
    succeeded(edge_adapt("rename", mine, "red", "rouge"))
    assert "2 classes, 6 images" in succeeded(edge_adapt("strip", mine))
    facts = json.loads(succeeded(edge_adapt("info", mine, "--json")))
    assert {(shot["name"], shot["sha256"]) for shot in facts["classifier"]["shots"]} == {("", "0" * 64)}
    assert "there is no edit to undo" in complaint(edge_adapt("undo", mine))


def test_what_is_no_classifier_is_refused(mine: Path, photos: Path) -> None:
    assert "is a meta-model that knows no classes yet" in complaint(edge_adapt("undo", TINY))
    before = mine.read_bytes()
    assert "does not exist" in complaint(edge_adapt("add", mine, "yellow", photos / "yellow" / "missing.png"))
    (photos / "yellow" / "0.png").write_bytes(b"no image")
    assert "0.png is not an image" in complaint(edge_adapt("add", mine, "yellow", photos / "yellow"))
    assert mine.read_bytes() == before
