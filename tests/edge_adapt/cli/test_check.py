"""The command `check`, on photos and on a classifier."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge_adapt
from tests.command_line import complaint, succeeded, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """With a red photo among the green ones."""
    folder = write_photos(tmp_path / "photos", {"red": 4, "green": 4, "yellow": 4})
    stray = write_photos(tmp_path / "more", {"red": 5}) / "red" / "4.png"
    stray.rename(folder / "green" / "stray.png")
    return folder


def test_photos_that_cannot_be_read_are_named_or_left_out(photos: Path, tmp_path: Path) -> None:
    expected = succeeded(command("check", photos, "--model", TINY))
    (photos / "red" / "bad.png").write_bytes(b"")
    assert "or pass --skip-bad" in complaint(command("check", photos, "--model", TINY))
    sheet = tmp_path / "sheet.png"
    assert succeeded(command("check", photos, "--model", TINY, "--skip-bad", "--sheet", sheet)).startswith(expected)


def test_a_folder_and_its_classifier_have_the_same_suspect(photos: Path, tmp_path: Path) -> None:
    said = succeeded(command("check", photos, "--model", TINY))
    suspect = "green/stray.png is labelled green and looks like red"
    assert f"mislabelled: {suspect}.\n" in said
    adapted = succeeded(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", TINY))
    assert f"Look at this: {suspect}.\n" in adapted and adapted.count("Look at this") <= 2
    assert f"mislabelled: {suspect}.\n" in succeeded(command("check", tmp_path / "mine.edge"))
    lines = [json.loads(line) for line in succeeded(command("check", photos, "--model", TINY, "--json")).splitlines()]
    (found,) = [line for line in lines if line["kind"] == "mislabelled"]
    assert found["classes"] == ["green", "red"] and found["images"] == ["green/stray.png"]
    assert [(line["kind"], line["text"]) for line in lines] == [
        (finding.kind, finding.text) for finding in edge_adapt.check(photos, model=TINY)
    ]


def test_the_sheet_marks_the_suspect_in_red(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert f"Look at {sheet}." in succeeded(command("check", photos, "--model", TINY, "--sheet", sheet))
    pixels = np.asarray(Image.open(sheet).convert("RGB"))
    assert (pixels == (214, 51, 63)).all(axis=2).sum() > 500
    succeeded(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", TINY))
    message = complaint(command("check", tmp_path / "mine.edge", "--sheet", sheet), 2)
    assert "a classifier holds none" in message


def test_a_photo_smaller_than_the_input_is_named(photos: Path) -> None:
    Image.new("RGB", (4, 4), (30, 200, 60)).save(photos / "green" / "tiny.png")
    assert "small: green/tiny.png is small: 4 x 4 pixels" in succeeded(command("check", photos, "--model", TINY))


def test_what_cannot_be_checked_is_named(tmp_path: Path) -> None:
    assert "does not exist" in complaint(command("check", tmp_path / "missing"))
    assert "is not an edge-adapt bundle" in complaint(command("check", Path(__file__)))
