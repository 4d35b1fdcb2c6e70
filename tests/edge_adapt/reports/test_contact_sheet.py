"""The picture that `demo` draws: every image is on it, framed by whether its answer was right."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.reports.contact_sheet import CELL, Answer, Row, contact_sheet

GREEN, RED = (46, 158, 91), (214, 51, 63)
BLUE = (10, 20, 250)


def solid(colour: tuple[int, int, int], size: tuple[int, int] = (50, 31)) -> Image.Image:
    return Image.new("RGB", size, colour)


def count(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == colour).all(axis=2).sum())


def sheet_of(rows: list[Row]) -> Image.Image:
    return contact_sheet(rows, "title", "support", "query")


@given(
    rights=st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=4), shots=st.integers(1, 4)
)
@settings(max_examples=20, deadline=None)
def test_every_image_is_shown_and_framed(rights: list[list[bool]], shots: int) -> None:
    rows = [
        Row("a class", [solid(BLUE)] * shots, [Answer(solid(BLUE), "a class" if right else "b", 0.5) for right in row])
        for row in rights
    ]
    sheet = sheet_of(rows)
    images = shots * len(rows) + sum(map(len, rights))
    assert count(sheet, BLUE) == images * CELL[0] * CELL[1]
    frame = count(sheet_of([Row("a", [solid(BLUE)], [Answer(solid(BLUE), "a", 1.0)])]), GREEN)
    assert count(sheet, GREEN) == frame * sum(sum(row) for row in rights)
    wrong = sum(not right for row in rights for right in row)
    assert (count(sheet, RED) >= frame * wrong) if wrong else count(sheet, RED) == 0


def test_an_image_of_any_mode_and_shape_and_a_long_label_fit() -> None:
    images = [
        Image.new(mode, size) for mode, size in (("1", (5, 90)), ("L", (1, 1)), ("RGBA", (300, 20)), ("P", (7, 7)))
    ]
    short = sheet_of([Row("a", images, [Answer(image, "b", 0.5) for image in images])])
    long = sheet_of([Row("a" * 200, images, [Answer(image, "b" * 200, 0.5) for image in images])])
    assert short.size == long.size
    assert short.mode == "RGB"


def test_cells_take_the_shape_that_is_asked_for_and_show_the_middle() -> None:
    wide = Image.new("RGB", (400, 100), (200, 0, 200))
    wide.paste(BLUE, (134, 0, 267, 100))  # the central 4:3 part, 133 pixels wide
    sheet = contact_sheet([Row("a", [wide], [Answer(wide, "a", 1.0)])], "title", "support", "query", (40, 30))
    assert count(sheet, BLUE) >= 2 * 36 * 30
    assert count(sheet, (200, 0, 200)) == 0
