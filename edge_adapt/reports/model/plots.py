"""The plots of the page: matplotlib's SVG, whose colours and font the page's style sheet decides.

So a plot follows the page into the dark and onto paper, and is read in the reader's own font.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from edge_adapt.reports.labels import apart
from edge_adapt.runtime.classifier.estimate import wilson_interval
from edge_adapt.runtime.words import plural

if TYPE_CHECKING:
    from edge_adapt.reports.model.mistakes import Reliability
    from edge_adapt.runtime.evaluation import Evaluation

WIDTH, HEIGHT = 440, 290
"""Of a drawing, in units that are CSS pixels at full size."""

COLOURS = {
    name: f"#0000{index:02x}" for index, name in enumerate(("ink", "soft", "rule", *(f"s{i}" for i in range(6))), 1)
}
"""What stands for the style sheet's colours in a drawing, until their names take its place."""

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # words stay words
    "font.sans-serif": ["DejaVu Sans"],  # which measures them, for matplotlib brings it
    "font.size": 13,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.ymargin": 0,
    "grid.color": COLOURS["rule"],
    "text.color": COLOURS["ink"],
    "ytick.left": False,
    **dict.fromkeys(("axes.spines.left", "axes.spines.top", "axes.spines.right"), False),
    **dict.fromkeys(
        ("axes.titlecolor", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), COLOURS["soft"]
    ),
}
BESIDE: dict[str, Any] = {"textcoords": "offset points", "annotation_clip": False}
MARKERS = "os^DvP"


class Caption(NamedTuple):
    """What a screen reader says in a plot's place."""

    title: str
    description: str


def accuracy_plot(
    caption: Caption,
    label: str,
    unit: str,
    counts: Sequence[int],
    curves: Mapping[str, Mapping[int, Evaluation]],
    default: int | None = None,
) -> str:
    """Accuracy with its intervals over numbers that stand side by side, for they grow by factors; an `<svg>` element.

    Args:
        caption: in words.
        label: of the x axis.
        unit: what is counted there, such as "shot".
        counts: the numbers.
        curves: by their names, what was measured at some or all of them.
        default: one of the numbers to mark.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        drawn = {name: cells for name, cells in curves.items() if cells}
        ends = []
        for index, (name, cells) in enumerate(drawn.items()):
            points = [
                Point.of(counts.index(count), cell, f"{name}, {plural(count, unit)}") for count, cell in cells.items()
            ]
            _draw_curve(axes, points, index)
            ends.append(points[-1])
        low, high = axes.get_ylim()
        low, high = 5 * math.floor(low / 5), 5 * math.ceil(high / 5)
        low = min(low, high - 5)
        axes.set(xlabel=label, xlim=(-0.25, len(counts) - 0.75), ylabel="accuracy, %", ylim=(low, high))
        axes.set_xticks(range(len(counts)), [str(count) for count in counts])
        axes.locator_params("y", nbins=6, steps=[1, 2, 5, 10], integer=True)
        if default is not None:
            place = counts.index(default)
            axes.axvline(place, color=COLOURS["soft"], linestyle=(0, (2, 4)), linewidth=1, zorder=1)
            axes.annotate("default", (place, high), (0, 5), **BESIDE, ha="center", color=COLOURS["soft"], fontsize=12)
        for index, (name, end, y) in enumerate(
            zip(drawn, ends, apart([end.y for end in ends], 0.065 * (high - low), high), strict=True)
        ):
            colour = COLOURS[f"s{index % 6}"]
            axes.annotate(name, (end.x, y), (10, 0), **BESIDE, va="center_baseline", color=colour, weight="bold")

    return _svg(caption, draw, HEIGHT)


def reliability_plot(caption: Caption, found: Reliability) -> str:
    """The share of right answers over the confidence of each bin, and how many queries there are in it; an `<svg>` element."""

    def draw(figure: Figure) -> None:
        axes, strip = figure.subplots(2, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 100], [0, 100], color=COLOURS["soft"], linestyle=(0, (6, 5)), linewidth=1, zorder=1)
        axes.set(xlim=(0, 100), ylim=(0, 100), ylabel="accuracy, %")
        strip.set(xlabel="confidence, %", yticks=[], title="queries in each bin")
        points = []
        for entry in (entry for entry in found.bins if entry.count):
            low, high = wilson_interval(round(entry.accuracy * entry.count), entry.count)
            text = f"confidence {entry.confidence:.1%}: {entry.accuracy:.1%} of {entry.count:,} right"
            points.append(Point(100 * entry.confidence, 100 * entry.accuracy, 100 * low, 100 * high, text))
            (bar,) = strip.bar(50 * (entry.low + entry.high), entry.count, 9, color=COLOURS["soft"], alpha=0.45)
            bar.set_gid(f"say:{plural(entry.count, 'query', 'queries')}")
        _draw_curve(axes, points, 0)

    return _svg(caption, draw, HEIGHT + 58)


class Point(NamedTuple):
    """A point in percent, its interval, and what to say of it."""

    x: float
    y: float
    low: float
    high: float
    text: str

    @classmethod
    def of(cls, x: float, cell: Evaluation, what: str) -> Point:
        """What was measured of something, at `x`."""
        low, high = max(0.0, cell.accuracy - cell.ci95), min(1.0, cell.accuracy + cell.ci95)
        over = plural(cell.protocol.episodes, "episode")
        text = f"{what}: {cell.accuracy:.1%} \N{PLUS-MINUS SIGN} {cell.ci95:.1%} over {over}"
        return cls(x, 100 * cell.accuracy, 100 * low, 100 * high, text)


def _draw_curve(axes: Axes, points: Sequence[Point], index: int) -> None:
    """A line with a marker for each point, which says its own text, over its interval."""
    kind: dict[str, Any] = {"color": COLOURS[f"s{index % 6}"], "clip_on": False}
    axes.plot([point.x for point in points], [point.y for point in points], linewidth=2, **kind)
    for point in points:
        axes.plot([point.x] * 2, [point.low, point.high], linewidth=1.5, alpha=0.6, **kind)
        axes.plot([point.x], [point.y], MARKERS[index % 6], markersize=7, gid=f"say:{point.text}", **kind)


def _svg(caption: Caption, draw: Callable[[Figure], None], height: int) -> str:
    file = io.StringIO()
    # The salt tells the parts of one plot from those of another; without a date the same plot is the same text.
    with rc_context({**STYLE, "svg.hashsalt": caption.title}):
        figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(
            file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    words = f"<title>{escape(caption.title)}</title><desc>{escape(caption.description)}</desc>"
    text = file.getvalue()
    text = text[text.index("</defs>") + len("</defs>") :]  # a style for the whole page, which has its own
    text = re.sub(r'<g id="say:([^"]*)">', r"<g><title>\1</title>", text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text).replace("xlink:href", "href")
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{words}{" ".join(text.split())}'
