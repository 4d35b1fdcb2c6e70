"""The commands on photos of known values."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from tests.command_line import complaint, json_lines, succeeded
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.value_photos import write_table

VALUES = np.linspace(0.1, 0.82, 10)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "photos", VALUES)


@pytest.fixture
def tank(table: Path, tmp_path: Path) -> Path:
    said = succeeded(command("adapt", table, "-o", tmp_path / "tank.edge", "--model", TINY))
    assert "10 photos:\n  litres from 1 to 8.2\n" in said and "litres on average" in said
    return tmp_path / "tank.edge"


def test_adapt_says_as_json_what_to_expect(table: Path, tmp_path: Path) -> None:
    arguments = ("adapt", table, "-o", tmp_path / "tank.edge", "--model", TINY, "--json")
    (said,) = json_lines(succeeded(command(*arguments)))
    assert said["photos"] == 10 and said["values"]["litres"]["most"] == pytest.approx(8.2)  # type: ignore[index]
    assert 0 < said["values"]["litres"]["error"] <= said["values"]["litres"]["bound"]  # type: ignore[index]


def test_text_json_and_csv_say_the_same(tank: Path, tmp_path: Path) -> None:
    folder = write_table(tmp_path / "new", np.array([0.2, 0.7]), 5).parent
    text = [line.split("\t") for line in succeeded(command("classify", tank, folder)).splitlines()]
    objects = json_lines(succeeded(command("classify", tank, folder, "--json")))
    rows = list(csv.DictReader(io.StringIO(succeeded(command("classify", tank, folder, "--csv")))))
    for line, value, row in zip(text, objects, rows, strict=True):
        found = value["values"]["litres"]  # type: ignore[index]
        low, high = value["intervals"]["litres"]  # type: ignore[index]
        assert line == [str(value["image"]), "litres", f"{found:.4g}", f"{low:.4g} to {high:.4g}"]
        assert [row["image"], *map(float, (row["litres"], row["litres low"], row["litres high"]))] == [
            value["image"], found, low, high
        ]  # fmt: skip


def test_edits_and_their_log(tank: Path, table: Path) -> None:
    before = tank.read_bytes()
    photo = table.parent / "7.png"
    assert "tank.edge: 10 photos" in succeeded(command("correct", tank, photo, "1.5"))
    assert "7.png is said to read 1.5 litres" in succeeded(command("check", tank))
    assert "Done: nothing since it was adapted" in succeeded(command("undo", tank))
    assert "tank.edge: 9 photos" in succeeded(command("remove", tank, "3.png"))
    assert "tank.edge: 10 photos" in succeeded(command("add", tank, "3.4", table.parent / "3.png"))
    assert [line[24:] for line in succeeded(command("log", tank)).splitlines()] == ["remove 3.png", "add 3.png 3.4"]
    assert "litres within" in succeeded(command("info", tank))
    succeeded(command("undo", tank))
    succeeded(command("undo", tank))
    assert succeeded(command("classify", tank, photo)) and tank.read_bytes() != before


def test_what_is_of_classes_is_refused(tank: Path, table: Path) -> None:
    photo = table.parent / "3.png"
    assert "has no classes" in complaint(command("rename", tank, "a", "b"))
    assert "has no classes" in complaint(command("merge", tank, "a", "b", "--into", "b"))
    assert "has no classes" in complaint(command("correct", tank, photo, "--not", "a"))
    assert "'high' is no value for litres" in complaint(command("add", tank, "high", photo))
    assert "each needs 1 value" in complaint(command("add", tank, "1,2", photo))
    for option in ("--top=2", "--vote=3/5", "--unknown-at=0.1", "--never-unknown"):
        of_frames = ["--frames", "mjpeg"] if "vote" in option else [photo]
        said = complaint(command("classify", tank, *of_frames, option), 2)
        assert f"{option.partition('=')[0]} is about classes, and {tank} reads values." in said
    assert "where a classifier is needed" in complaint(command("bake", tank, "-o", tank.with_suffix(".onnx")))


def test_bad_tables_are_named(table: Path, tmp_path: Path) -> None:
    def said(text: str) -> str:
        table.write_text(text, encoding="utf-8")
        return complaint(command("adapt", table, "-o", tmp_path / "out.edge", "--model", TINY))

    assert "photos that are not there (gone.jpg)" in said("image,bar\ngone.jpg,1\n")
    assert "has no column of values" in said("image\n1.png\n")
    assert "line 3 has '' for bar" in said("image,bar\n1.png,1\n2.png,\n")
    assert "all photos read 2 bar" in said("image,bar\n1.png,2\n2.png,2\n3.png,2\n")
    assert not (tmp_path / "out.edge").exists()


def test_evaluate_compares_with_what_photos_read(tank: Path, table: Path, tmp_path: Path) -> None:
    true = np.array([0.2, 0.5, 0.7])
    new = write_table(tmp_path / "new", true, 5)
    read = [
        line["values"]["litres"]  # type: ignore[index]
        for line in json_lines(succeeded(command("classify", tank, new.parent, "--json")))
    ]
    off = [abs(value - 10 * truth) for value, truth in zip(read, true, strict=True)]
    (said,) = json_lines(succeeded(command("evaluate", tank, new, "--json")))
    found = said["values"]["litres"]  # type: ignore[index]
    assert said["images"] == 3 and said["in_support"] == 0
    assert found["error"] == pytest.approx(np.mean(off), abs=1e-5)
    assert found["of_range"] == pytest.approx(np.mean(off) / 7.2, abs=1e-5)
    assert [photo["image"] for photo in found["worst"]] == [f"{number}.png" for number in np.argsort(off)[::-1]]
    text = succeeded(command("evaluate", tank, new))
    assert "litres: 3 photos read, off by" in text and "taken for" in text
    assert "10 photos of these taught" in succeeded(command("evaluate", tank, table))


def test_evaluate_names_what_a_table_lacks(tank: Path, table: Path) -> None:
    other = table.with_name("other.csv")
    other.write_text(table.read_text(encoding="utf-8").replace("litres", "bar"), encoding="utf-8")
    assert "other.csv has no column litres (it has bar)" in complaint(command("evaluate", tank, other))
    assert "is a folder, and a CSV is needed" in complaint(command("evaluate", tank, table.parent))
    assert "--episodes is about episodes" in complaint(command("evaluate", tank, table, "--episodes=3"), 2)
