"""The report about a model as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from edge_adapt.reports.model.accuracy import N_QUERY
from edge_adapt.reports.model.measurements import Report
from edge_adapt.reports.model.mistakes import Bin, Reliability
from edge_adapt.reports.model.pictures import Pictures
from edge_adapt.reports.model.plots import Caption, accuracy_plot, reliability_plot
from edge_adapt.reports.pages import environment, file_name
from edge_adapt.runtime.evaluation import Evaluation
from edge_adapt.runtime.images.views import described
from edge_adapt.runtime.words import milliseconds, plural, size


def page(report: Report) -> str:
    """The whole document: `page.html`, filled in."""
    templates = environment()
    templates.filters |= {"milliseconds": milliseconds, "span": _span, "views": described}
    table, curve, data_name = report.table, report.steps, file_name(report.data.source)
    return templates.get_template("model/page.html").render(
        report=report,
        title=f"{report.model.card.name} on {data_name}",
        n_query=N_QUERY,
        data_name=data_name,
        episodes=_episodes_by_way(report),
        accuracy_plot=Markup(_plot_of_shots(report)),
        steps_plot=Markup(_plot_of_steps(report)),
        accuracy_rows=[
            [f"{way} ways", *(_points(table.cells.get((way, shot))) for shot in table.shots)] for way in table.ways
        ],
        steps_rows=[
            [
                f"{count} (default)" if count == report.model.card.default_steps else str(count),
                *(_points(curve.cells[shot, count]) for shot in curve.shots),
            ]
            for count in curve.steps
        ],
        reliabilities=[
            (found, _sureness(found), Markup(_plot_of(found)), [_bin_row(entry) for entry in found.bins])
            for found in report.reliabilities
        ],
        timing_rows=[
            [
                entry.what,
                milliseconds(entry.median),
                f"{milliseconds(entry.low).removesuffix(' ms')} to {milliseconds(entry.high)}",
            ]
            for entry in report.timings
        ],
        size_rows=[
            *([name, size(count)] for name, count in report.model.entries.items()),
            ["the file", size(report.model.size)],
        ],
        pictures=Pictures(report.data),
    )


def _plot_of_shots(report: Report) -> str:
    table = report.table
    curves = {
        f"{way} ways": {shot: table.cells[way, shot] for shot in table.shots if (way, shot) in table.cells}
        for way in table.ways
    }
    words = "One line for each number of classes, rising with the number of support images of a class. The table has every value."
    caption = Caption("Accuracy by way and shot", words)
    return accuracy_plot(caption, "support images of a class (shots)", "shot", table.shots, curves)


def _plot_of_steps(report: Report) -> str:
    curve = report.steps
    if not curve.steps:
        return ""
    curves = {plural(shot, "shot"): {count: curve.cells[shot, count] for count in curve.steps} for shot in curve.shots}
    words = "One line for each number of support images of a class, over the number of gradient steps. The table has every value."
    caption = Caption("Accuracy by adaptation steps", words)
    return accuracy_plot(caption, "gradient steps", "step", curve.steps, curves, report.model.card.default_steps)


def _plot_of(found: Reliability) -> str:
    words = (
        f"Expected calibration error {100 * found.error:.1f} points; on average the model is {_sureness(found)}. "
        "The table has every bin."
    )
    return reliability_plot(Caption(f"Reliability, {found.n_way}-way {found.n_shot}-shot", words), found)


def _sureness(found: Reliability) -> str:
    gap = 100 * (found.confidence - found.accuracy)
    if abs(gap) < 1:
        return "about as sure as it is right"
    return f"{abs(gap):.1f} points {'more' if gap > 0 else 'less'} sure than right"


def _episodes_by_way(report: Report) -> Mapping[int, list[int]]:
    """Numbers of episodes, and the ways that are measured over so many."""
    found: dict[int, list[int]] = {}
    for (way, _), cell in report.table.cells.items():
        ways = found.setdefault(cell.protocol.episodes, [])
        if way not in ways:
            ways.append(way)
    return found


def _points(result: Evaluation | None) -> Markup:
    """An accuracy and its interval in percent."""
    if result is None:
        return Markup("\N{EN DASH}")
    return Markup("{:.1f} <small>\N{PLUS-MINUS SIGN} {:.1f}</small>").format(100 * result.accuracy, 100 * result.ci95)


def _bin_row(entry: Bin) -> list[str]:
    means = (f"{100 * entry.confidence:.1f}", f"{100 * entry.accuracy:.1f}") if entry.count else ("", "")
    return [f"{entry.low:.0%} to {entry.high:.0%}", f"{entry.count:,}", *means]


def _span(counts: NDArray[np.int64]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
