"""A CSV of photos and what they read: what is taken, and what is refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_adapt.runtime.adaptation import regress
from edge_adapt.runtime.errors import DataError, ImageError
from edge_adapt.runtime.regressor.table import open_table
from tests.conftest import TINY
from tests.tiny_model import refusal
from tests.value_photos import write_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"not read here")
    return tmp_path


def test_columns_are_values_and_paths_begin_at_the_csv(folder: Path) -> None:
    path = folder / "gauge.csv"
    path.write_text('\ufeffphoto, bar ,"temp, C"\r\na.png,1.5,-3\r\n\r\ndeep/c.png,2e1,4\r\n', encoding="utf-8")
    table = open_table(path)
    assert table.names == ("bar", "temp, C") and table.values == ((1.5, -3.0), (20.0, 4.0))
    assert [file.name for file in table.files] == ["a.png", "deep/c.png"]
    assert [file.stored_in for file in table.files] == [folder / "a.png", folder / "deep/c.png"]
    path.write_text(f"photo,bar\n{folder / 'a.png'},1\n", encoding="utf-8")
    assert open_table(path).files[0].name == "a.png"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty"),
        ("image\na.png\n", "line 1 has no column of values"),
        ("image;bar\na.png;1\n", "line 1 has no column of values"),
        ("image,\na.png,1\n", "line 1 has the column ''"),
        ("image,bar,bar\na.png,1,2\n", "line 1 has the column 'bar'"),
        ("image,bar\n", "names columns and no photo"),
        ("image,bar\na.png\n", "line 2 has 1 cells, and the first line has 2"),
        ("image,bar\na.png,1,5\n", "line 2 has 3 cells"),
        ("image,bar\na.png,\n", "line 2 has '' for bar, which is no number"),
        ("image,bar\na.png,high\n", "line 2 has 'high' for bar"),
        ("image,bar\na.png,nan\n", "line 2 has 'nan' for bar"),
        ("image,bar\na.png,1e39\n", "line 2 has '1e39' for bar"),
        ("image,bar\na.png,1\na.png,2\n", "line 3 has a.png for the second time"),
        ("image,bar\n,1\n", "line 2 names no photo"),
        ("image,bar\na.png,1\nx.png,2\ny.png,3\n", "names photos that are not there (x.png, y.png)"),
    ],
)
def test_a_bad_table_is_named_with_its_line(folder: Path, text: str, fault: str) -> None:
    path = folder / "gauge.csv"
    path.write_text(text, encoding="utf-8")
    message = refusal(lambda: open_table(path), DataError)
    assert message.startswith(str(path)) and fault in message


def test_what_is_no_text_is_named(folder: Path) -> None:
    assert "does not exist" in refusal(lambda: open_table(folder / "gone.csv"), DataError)
    assert "is a folder" in refusal(lambda: open_table(folder / "deep"), DataError)
    (folder / "gauge.csv").write_bytes(b"image,bar\n\xff\xfe,1\n")
    assert "is not text in UTF-8" in refusal(lambda: open_table(folder / "gauge.csv"), DataError)


def test_photos_that_cannot_be_read_are_named_or_left_out(tmp_path: Path) -> None:
    table = write_table(tmp_path, np.linspace(0.1, 0.9, 5))
    (tmp_path / "3.png").write_bytes(b"")
    message = refusal(lambda: regress(table, model=TINY), ImageError)
    assert "1 of 5 images cannot be read" in message and "3.png" in message
    assert len(regress(table, model=TINY, skip_bad=True).support) == 4
