"""A picture of an adaptation: for each class its support images, then its query images with what they were taken for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image, ImageDraw, ImageFont

CELL = (64, 64)
"""Width and height of an image, pixels."""

_GAP, _MARGIN, _FRAME, _LINE = 12, 20, 3, 17
_NAME_WIDTH = 84
_GREEN, _RED, _INK, _FAINT, _PAPER, _SHADE = "#2e9e5b", "#d6333f", "#1d2530", "#7a8594", "#ffffff", "#f3f5f8"


@dataclass(frozen=True)
class Answer:
    """A query image, the label that a classifier gave it, and how sure it was, 0 to 1, where that is to be said."""

    image: Image.Image
    label: str
    confidence: float | None


@dataclass(frozen=True)
class Row:
    """A class: its label, its support images and the answers to its query images."""

    label: str
    support: Sequence[Image.Image]
    answers: Sequence[Answer]


def contact_sheet(
    rows: Sequence[Row], title: str, support_title: str, query_title: str, cell: tuple[int, int] = CELL
) -> Image.Image:
    """Draw the rows below each other: the label, the support images, the query images framed green (right) or red (wrong).

    The confidence is below each query image, and the label it was given where that is wrong.

    Args:
        rows: one or more, each with one or more images on both sides.
        title, support_title, query_title: of the sheet and its two columns.
        cell: width and height of an image, pixels; of an image of another shape, the largest central part of this shape is shown.
    """
    width, height = cell
    support_width = max(len(row.support) for row in rows) * (width + _GAP)
    query_width = max(len(row.answers) for row in rows) * (width + _GAP)
    support_left = _MARGIN + _NAME_WIDTH
    query_left = support_left + support_width + 3 * _GAP
    row_height = height + 2 * _FRAME + _LINE + _GAP
    top = _MARGIN + 64
    size = (query_left + query_width - _GAP + _MARGIN, top + len(rows) * row_height + _MARGIN - _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN - 4), title, fill=_INK, font=_font(19))
    draw.rectangle((support_left - _GAP, top - 28, support_left + support_width, size[1] - _MARGIN // 2), fill=_SHADE)
    draw.text((support_left, top - 24), support_title, fill=_FAINT, font=_font(13))
    draw.text((query_left, top - 24), query_title, fill=_FAINT, font=_font(13))
    for index, row in enumerate(rows):
        y = top + index * row_height
        draw.text(
            (_MARGIN, y + height // 2 - 8),
            _fitted(draw, row.label, _font(15), _NAME_WIDTH - _GAP),
            fill=_INK,
            font=_font(15),
        )
        for column, image in enumerate(row.support):
            sheet.paste(_thumbnail(image, cell), (support_left + column * (width + _GAP), y + _FRAME))
        for column, answer in enumerate(row.answers):
            corner = (query_left + column * (width + _GAP), y + _FRAME)
            _draw_answer(sheet, draw, answer, answer.label == row.label, corner, cell)
    return sheet


def _draw_answer(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    answer: Answer,
    right: bool,
    corner: tuple[int, int],
    cell: tuple[int, int],
) -> None:
    (x, y), (width, height) = corner, cell
    colour = _GREEN if right else _RED
    draw.rectangle((x - _FRAME, y - _FRAME, x + width + _FRAME - 1, y + height + _FRAME - 1), fill=colour)
    sheet.paste(_thumbnail(answer.image, cell), corner)
    font = _font(12)
    sure = "" if answer.confidence is None else f"{answer.confidence:.0%}"
    text = sure if right else f"{answer.label} {sure}".rstrip()
    text = _fitted(draw, text, font, width + _GAP)
    draw.text(
        (x + (width - draw.textlength(text, font=font)) / 2, y + height + _FRAME),
        text,
        fill=_FAINT if right else _RED,
        font=font,
    )


def _thumbnail(image: Image.Image, cell: tuple[int, int]) -> Image.Image:
    """The largest central part of the image that has the cell's shape, at the cell's size."""
    share = min(image.width / cell[0], image.height / cell[1])
    width, height = (max(round(side * share), 1) for side in cell)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    part = image.convert("RGB").crop((left, top, left + width, top + height))
    return part.resize(cell, Image.Resampling.LANCZOS)


def _fitted(draw: ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """The text, cut short where it is too long for `width` pixels."""
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "..", font=font) > width:
        text = text[:-1]
    return text + ".."


def _font(size: int) -> Any:
    """Pillow's own font; before Pillow 10.1, and without FreeType, it has one size."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError):
        return ImageFont.load_default()
