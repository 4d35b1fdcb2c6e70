"""A CSV of photos and what they read: the support set of a regressor."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from edge_adapt.runtime.bundle.strict_json import is_line
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.folders import ImageFile
from edge_adapt.runtime.words import reason

MAX_TABLE_BYTES = 16 * 1024**2
_MOST_NAMED = 5


@dataclass(frozen=True)
class Table:
    """Photos of known values.

    Attributes:
        path: of the CSV.
        names: of the T values.
        files: the photos, in the order of the lines.
        values: of each photo, T finite numbers.
    """

    path: Path
    names: tuple[str, ...]
    files: tuple[ImageFile, ...]
    values: tuple[tuple[float, ...], ...]


def open_table(path: str | os.PathLike[str]) -> Table:
    """Reads a CSV whose first line names its columns: that of the photos, then one a value.

    Commas part the cells, and a point is in numbers, as RFC 4180 and most programs write them; in UTF-8. A photo is named by its
    path from the folder of the CSV, and no photo is read here. Empty lines are passed over.

    Raises:
        DataError: the file cannot be read or is no such table, a cell is no number, or a photo is not there or stands twice.
    """
    path = Path(path)
    lines = [(number, row) for number, row in enumerate(csv.reader(io.StringIO(_text(path)), strict=False), 1) if row]
    if not lines:
        raise DataError(f"{path} is empty; its first line names the columns, such as image,bar.")
    names = tuple(name.strip() for name in lines[0][1][1:])
    if not names:
        _fail(
            path,
            1,
            "has no column of values; name the photos' column and one a value, with commas between, such as image,bar",
        )
    for name in names:
        if not name or not is_line(name) or names.count(name) > 1:
            _fail(path, 1, f"has the column {name!r}; give each value one name of its own")
    if len(lines) == 1:
        raise DataError(f"{path} names columns and no photo; add a line a photo.")
    found: dict[str, tuple[float, ...]] = {}
    missing = []
    for number, row in lines[1:]:
        if len(row) != len(names) + 1:
            _fail(path, number, f"has {len(row)} cells, and the first line has {len(names) + 1}; correct it")
        photo = row[0].strip()
        if photo in found:
            _fail(path, number, f"has {photo} for the second time; keep one of the lines")
        if not photo:
            _fail(path, number, "names no photo; add the file or remove the line")
        if not (path.parent / photo).is_file():
            missing.append(photo)
        found[photo] = tuple(_number(path, number, name, cell) for name, cell in zip(names, row[1:], strict=True))
    if missing:
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        listed = ", ".join(missing[:_MOST_NAMED]) + more
        raise DataError(f"{path} names photos that are not there ({listed}); paths begin at the folder of the CSV.")
    return Table(path, names, tuple(_files(path.parent, found)), tuple(found.values()))


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a folder, and a CSV is needed here.")
        with path.open("rb") as file:
            data = file.read(MAX_TABLE_BYTES + 1)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; check the spelling of the path.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}).") from error
    if len(data) > MAX_TABLE_BYTES:
        raise DataError(f"{path} is larger than a CSV of photos may be ({MAX_TABLE_BYTES >> 20} MiB).")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8; save it as CSV in UTF-8.") from error


def _number(path: Path, line: int, name: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not abs(value) < 3e38:  # which float32 holds
        _fail(path, line, f"has {cell.strip()[:40]!r} for {name}, which is no number; write it as 3.5")
    return value


def _files(folder: Path, photos: Iterable[str]) -> Iterable[ImageFile]:
    for photo in photos:
        path = folder / photo
        yield ImageFile(path.name if Path(photo).is_absolute() else photo, str(path), path, None)


def _fail(path: Path, line: int, fault: str) -> NoReturn:
    raise DataError(f"{path}: line {line} {fault}.")
