"""Names that strangers gave to files and classes neither steer a terminal nor forge a line."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pytest
from PIL import Image

import edge_adapt
from tests.command_line import COLOURS, complaint, json_lines, succeeded
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.image_folders import write_zip

FORGED = "a.png\tred\t99.9%\nb.png\tgreen\t99.9%\x1b[2J.png"
TURNED = "\u202eder"

pytestmark = pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of two colours, one of which has a name that turns what follows it around."""
    path = tmp_path_factory.mktemp("names") / "mine.edge"
    shots = {label: [Image.new("RGB", (20, 14), COLOURS[label])] * 2 for label in ("green", "red")}
    edge_adapt.load_model(TINY).adapt({"green": shots["green"], TURNED: shots["red"]}).save(path)
    return path


@pytest.fixture
def forged(tmp_path: Path) -> Path:
    """A folder with one image, which is red."""
    (tmp_path / "inbox").mkdir()
    Image.new("RGB", (20, 14), COLOURS["red"]).save(tmp_path / "inbox" / FORGED)
    return tmp_path / "inbox"


def is_plain(text: str) -> bool:
    return all(line.replace("\t", "").isprintable() for line in text.split("\n"))


def test_the_name_of_a_file_forges_no_result(mine: Path, forged: Path) -> None:
    said = succeeded(command("classify", mine, forged, "--never-unknown"))
    assert is_plain(said) and said.count("\n") == 1
    image, label, _ = said.rstrip("\n").split("\t")
    assert image == f"{forged}/a.png\\tred\\t99.9%\\nb.png\\tgreen\\t99.9%\\x1b[2J.png" and label == "\\u202eder"


def test_nor_a_row_of_a_table(mine: Path, forged: Path) -> None:
    said = succeeded(command("classify", mine, forged, "--csv"))
    header, row = csv.reader(io.StringIO(said))
    assert is_plain(said) and "\\u202eder" in header and row[0].endswith("\\x1b[2J.png")


def test_json_keeps_the_exact_name(mine: Path, forged: Path) -> None:
    said = succeeded(command("classify", mine, forged, "--json", "--never-unknown"))
    (value,) = json_lines(said)
    assert said.isascii() and is_plain(said)
    assert (value["image"], value["label"]) == (f"{forged}/{FORGED}", TURNED)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_errors_name_files_and_entries_on_one_line(mine: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "photos"
    (folder / "cat").mkdir(parents=True)
    (folder / "cat" / FORGED).write_bytes(b"no image")
    path = write_zip(tmp_path / "p.zip", {f"cat/{FORGED}": b"no image"}) if kind == "zip" else folder
    said = complaint(command("classify", mine, path))
    assert is_plain(said) and "\\nb.png\\tgreen" in said and "is not an image" in said


def test_what_is_said_of_a_classifier_is_plain(mine: Path, tmp_path: Path) -> None:
    for verb in ("info", "check"):
        assert is_plain(succeeded(command(verb, mine)))
    assert is_plain(succeeded(command("rename", mine, TURNED, "red\u202d", "-o", tmp_path / "b.edge")))
    assert is_plain(succeeded(command("log", tmp_path / "b.edge")))


def test_a_quotation_without_end_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "long.zip"
    write_zip(path, {f"{'x' * 60_000}.png": b"1", f"cat/{'y' * 60_000}.png": b"2"})
    said = complaint(command("adapt", path, "-o", tmp_path / "a.edge", "--model", TINY))
    assert len(said) <= 600 and said.endswith("put the images of each class into a sub-folder named after it.")
