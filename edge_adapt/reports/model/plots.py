"""One kind of plot as SVG: lines with points and intervals over an x axis, and perhaps a strip of columns below.

Colours and fonts come from the page's style sheet, by the classes s0, s1 and so on: a plot follows it into the dark and onto
paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, STRIP = 440, 290, 58
"""Of the drawing, of its axes' part, and of the strip of columns; in units that are CSS pixels at full size."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 74, 18, 42
_LABEL_GAP = 15
_STYLES = 6

_MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",  # circle
    "M-3.6 -3.6h7.2v7.2h-7.2z",  # square
    "M0 -4.8L4.6 3.4H-4.6z",  # triangle
    "M0 -5L5 0L0 5L-5 0z",  # diamond
    "M0 4.8L4.6 -3.4H-4.6z",  # triangle, its point down
    "M-4.2 -1.4h2.8v-2.8h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8z",  # cross
)


@dataclass(frozen=True)
class Point:
    """A point, its interval, and what to say of it."""

    x: float
    y: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Line:
    """Points from left to right and the word at the end of them."""

    label: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Column:
    """A column of the strip, from `left` to `right` on the x axis; heights are relative to the highest."""

    left: float
    right: float
    height: float
    text: str


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with a word at some of the values."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]


def plot(
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    lines: Sequence[Line],
    *,
    diagonal: bool = False,
    mark: float | None = None,
    mark_label: str = "",
    columns: Sequence[Column] = (),
    columns_label: str = "",
) -> str:
    """An `<svg>` element.

    Args:
        title, description: what a screen reader says in its place.
        x, y: the axes.
        lines: in the order of their colours.
        diagonal: draw y = x.
        mark, mark_label: a value on the x axis to draw a line at, and its word.
        columns, columns_label: of the strip below.
    """
    frame = _Frame(x, y)
    height = HEIGHT + (STRIP if columns else 0)
    parts = [*_axes(frame, STRIP if columns else 0)]
    if columns:
        parts += _columns(frame, columns, columns_label)
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        parts.append(_segment(frame.x(low), frame.y(low), frame.x(high), frame.y(high), "ideal"))
    if mark is not None:
        parts.append(_segment(frame.x(mark), frame.top, frame.x(mark), frame.bottom, "mark"))
        parts.append(_text(frame.x(mark), frame.top - 6, mark_label, "faint middle"))
    for index, line in enumerate(lines):
        parts += _line(frame, line, index % _STYLES)
    ends = [frame.y(line.points[-1].y) for line in lines]
    for index, (line, height_of_label) in enumerate(zip(lines, _apart(ends, frame.top + 4, frame.bottom), strict=True)):
        place = frame.x(line.points[-1].x) + 10
        parts.append(_text(place, height_of_label + 4, line.label, f"end t{index % _STYLES}"))
    name = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{name}{"".join(parts)}</svg>'


class _Frame:
    """From values to places in the drawing."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self.x_axis, self.y_axis = x, y
        self.left, self.right, self.top, self.bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM

    def x(self, value: float) -> float:
        share = (value - self.x_axis.low) / (self.x_axis.high - self.x_axis.low)
        return self.left + share * (self.right - self.left)

    def y(self, value: float) -> float:
        share = (value - self.y_axis.low) / (self.y_axis.high - self.y_axis.low)
        return self.bottom - share * (self.bottom - self.top)


def _axes(frame: _Frame, strip: float) -> list[str]:
    parts = []
    for value, word in frame.y_axis.ticks:
        place = frame.y(value)
        parts.append(_segment(frame.left, place, frame.right, place, "grid"))
        parts.append(_text(frame.left - 8, place + 4, word, "tick right"))
    below = frame.bottom + strip
    for value, word in frame.x_axis.ticks:
        parts.append(_segment(frame.x(value), below, frame.x(value), below + 4, "axis"))
        parts.append(_text(frame.x(value), below + 18, word, "tick middle"))
    parts.append(_segment(frame.left, frame.bottom, frame.right, frame.bottom, "axis"))
    if strip:
        parts.append(_segment(frame.left, below, frame.right, below, "axis"))
    parts.append(_text((frame.left + frame.right) / 2, below + 36, frame.x_axis.label, "label middle"))
    middle = (frame.top + frame.bottom) / 2
    turned = f' transform="rotate(-90 11 {middle:.1f})"'
    parts.append(_text(11, middle, frame.y_axis.label, "label middle", turned))
    return parts


def _columns(frame: _Frame, columns: Sequence[Column], label: str) -> list[str]:
    bottom, room = frame.bottom + STRIP, STRIP - 22
    highest = max(column.height for column in columns) or 1.0
    parts = [_text(frame.left + 4, frame.bottom + 15, label, "faint")]
    for column in columns:
        left, width = frame.x(column.left) + 1, frame.x(column.right) - frame.x(column.left) - 2
        height = max(room * column.height / highest, 1.5 if column.height else 0.0)  # few are not none
        shape = (
            f'<rect class="column" x="{left:.1f}" y="{bottom - height:.1f}" width="{width:.1f}" height="{height:.1f}">'
        )
        parts.append(f"{shape}<title>{escape(column.text)}</title></rect>")
    return parts


def _line(frame: _Frame, line: Line, style: int) -> list[str]:
    places = [(frame.x(point.x), frame.y(point.y)) for point in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts = [f'<polyline class="line s{style}" points="{path}"/>']
    for point, (x, y) in zip(line.points, places, strict=True):
        low, high = (min(max(end, frame.y_axis.low), frame.y_axis.high) for end in (point.low, point.high))
        parts.append(_segment(x, frame.y(low), x, frame.y(high), f"interval s{style}"))
        marker = f'<path class="point t{style}" transform="translate({x:.1f} {y:.1f})" d="{_MARKERS[style]}">'
        parts.append(f"{marker}<title>{escape(point.text)}</title></path>")
    return parts


def _apart(places: Sequence[float], top: float, bottom: float) -> list[float]:
    """The same places, moved so that labels there do not lie on one another."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for before, index in zip([None, *order], order, strict=False):
        moved[index] = max(moved[index], top if before is None else moved[before] + _LABEL_GAP)
    limit = bottom
    for index in reversed(order):
        moved[index] = min(moved[index], limit)
        limit = moved[index] - _LABEL_GAP
    return moved


def _segment(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str, more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{more}>{escape(words)}</text>'
