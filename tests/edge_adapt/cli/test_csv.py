"""`classify --csv` says what `--json` says."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from PIL import Image

from tests.command_line import COLOURS, json_lines, succeeded
from tests.command_line import edge_adapt as command


def picture(label: str) -> Image.Image:
    return Image.new("RGB", (20, 14), COLOURS[label])


def test_csv_says_what_json_says(mine: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'a "quoted", folder'
    folder.mkdir()
    for label in COLOURS:
        picture(label).save(folder / f"{label}.png")
    said = list(csv.DictReader(io.StringIO(succeeded(command("classify", mine, folder, "--csv")))))
    objects = json_lines(succeeded(command("classify", mine, folder, "--json")))
    assert list(said[0]) == ["image", "label", "confidence", *sorted(COLOURS)]
    for row, value in zip(said, objects, strict=True):
        assert (row["image"], row["label"]) == (value["image"], value["label"])
        assert float(row["confidence"]) == value["confidence"]
        assert {label: float(row[label]) for label in COLOURS} == value["scores"]


@pytest.mark.parametrize("top", [1, 3, 9])
def test_csv_of_the_best(mine: Path, tmp_path: Path, top: int) -> None:
    picture("red").save(tmp_path / "a.png")
    arguments = ("classify", mine, tmp_path / "a.png", "--top", str(top))
    header, row = csv.reader(io.StringIO(succeeded(command(*arguments, "--csv"))))
    (value,) = json_lines(succeeded(command(*arguments, "--json")))
    best: dict[str, float] = value["scores"]  # type: ignore[assignment]
    assert row[1::2] == list(best) and [float(share) for share in row[2::2]] == list(best.values())
    assert header == ["image", "label", "confidence"] + [
        name for place in range(2, min(top, 4) + 1) for name in (f"label {place}", f"confidence {place}")
    ]


def test_csv_has_its_header_also_where_no_image_can_be_read(mine: Path, tmp_path: Path) -> None:
    result = command("classify", mine, tmp_path / "nowhere.png", "--csv")
    assert (result.exit_code, result.stdout) == (1, "image,label,confidence,blå,green,red,yellow\n")
