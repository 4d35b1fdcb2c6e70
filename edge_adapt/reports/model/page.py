"""The report as one HTML page that needs nothing else: no script, no font, no file, no network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from edge_adapt.reports.model import pictures
from edge_adapt.reports.model.accuracy import N_QUERY, StepsCurve
from edge_adapt.reports.model.measurements import Report
from edge_adapt.reports.model.mistakes import Reliability
from edge_adapt.reports.model.plots import Axis, Column, Line, Point, plot
from edge_adapt.reports.model.style import STYLE
from edge_adapt.reports.model.timing import Timing
from edge_adapt.runtime import __version__
from edge_adapt.runtime.evaluation import Evaluation
from edge_adapt.runtime.folder_evaluation import wilson_interval
from edge_adapt.runtime.images.views import described

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A browser then loads nothing, whatever a class may be called."""


def page(report: Report) -> str:
    """The whole document."""
    sections = (
        _heading(report),
        _model_and_data(report),
        _accuracy(report),
        _steps(report.steps, report.about.default_steps),
        _calibration(report.reliabilities),
        _confusions(report),
        _examples(report),
        _speed_and_size(report),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(report.about.name)} on {escape(_data_name(report))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(section for section in sections if section)
        + f"\n<footer>Measured with edge-adapt {__version__} on {report.date}.</footer>\n</body>\n</html>\n"
    )


def _heading(report: Report) -> str:
    about, cells = report.about, report.table.cells
    tiles = [
        (
            f"{way}-way {shot}-shot",
            f"{100 * cells[way, shot].accuracy:.1f}%",
            f"\N{PLUS-MINUS SIGN} {100 * cells[way, shot].ci95:.1f}",
        )
        for way in (report.steps.n_way,)
        for shot in report.steps.shots
    ]
    tiles.append(_tile("to embed an image", _milliseconds(report.timings[0].median)))
    if about.size:
        tiles.append(_tile("size of the bundle", _bytes(about.size)))
    shown = "".join(f"<div><dt>{name}</dt><dd>{value} <small>{unit}</small></dd></div>" for name, value, unit in tiles)
    return (
        f'<h1>{escape(about.name)}</h1>\n<p class="lead">A few-shot model ({about.kind}), measured on '
        f"{escape(_data_name(report))}: classes that it learned from a few images each.</p>\n"
        f'<dl class="tiles">{shown}</dl>'
    )


def _tile(name: str, quantity: str) -> tuple[str, str, str]:
    value, _, unit = quantity.partition(" ")
    return name, value, unit


def _data_name(report: Report) -> str:
    return report.data.source.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _model_and_data(report: Report) -> str:
    about, data = report.about, report.data
    pixels = about.preprocessing
    counts = data.counts
    model = {
        "method": about.method,
        "images": f"{pixels.width} \N{MULTIPLICATION SIGN} {pixels.height}, {'grey' if pixels.channels == 1 else 'colour'}",
        "support": described(about.support_views),
        "precision": about.precision,
        "steps": str(about.default_steps),
        "trained on": about.trained_on or "not said",
        "licence": about.license or ("given at export" if about.kind != "bundle" else "not said"),
    }
    each = f"{counts.min():,}" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,}"
    measured = {
        "data": data.source,
        "classes": f"{len(data.class_names):,}, {each} images each",
        "images": f"{len(data.images):,}",
        "episodes": f"{report.episodes:,} for a figure of up to 5 ways, fewer for more",
        "queries": f"up to {N_QUERY} a class, each on its own (non-transductive)",
        "seed": str(report.seed),
    }
    if data.skipped:
        measured["left out"] = f"{len(data.skipped):,} images that cannot be read"
    return (
        f'<section><div class="columns"><div><h2>The model</h2>{_facts(model)}</div>'
        f"<div><h2>What was measured</h2>{_facts(measured)}</div></div>"
        f"<pre>{escape(report.command)}</pre></section>"
    )


def _facts(facts: dict[str, str]) -> str:
    return (
        '<dl class="facts">'
        + "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts.items())
        + "</dl>"
    )


def _accuracy(report: Report) -> str:
    table = report.table
    lines = []
    for way in table.ways:
        found = [(index, table.cells.get((way, shot))) for index, shot in enumerate(table.shots)]
        points = [_point(index, cell, f"{way}-way {cell.n_shot}-shot") for index, cell in found if cell is not None]
        lines += [Line(f"{way} ways", points)] if points else []
    drawn = plot(
        "Accuracy by way and shot",
        "One line for each number of classes, rising with the number of support images of a class. The table has every value.",
        _positions("support images of a class (shots)", table.shots),
        _percent_axis("accuracy, %", table.cells.values()),
        lines,
    )
    rows = [[f"{way} ways", *(_cell(table.cells.get((way, shot))) for shot in table.shots)] for way in table.ways]
    head = ["", *(_count(shot, "shot") for shot in table.shots)]
    episodes = "; ".join(f"{_ways(ways)} {count:,}" for count, ways in _episodes_by_way(report).items())
    left_out = "".join(f"<li>{escape(sentence)}</li>" for sentence in report.omitted)
    body = (
        f'<div class="columns"><figure>{drawn}</figure><div><div class="scroll">{_table("% right", head, rows)}</div>'
        f'<p class="note below">Episodes for each figure: {episodes}. Episodes of many classes hold many queries, so fewer '
        "are needed.</p></div></div>"
    )
    how = (
        "Mean over random episodes, with its 95% confidence interval. <code>edge-adapt evaluate</code> gives the same figures "
        "for as many episodes."
    )
    return _section(
        "Accuracy by way and shot",
        how,
        body + (f'<h3>Left out</h3><ul class="note">{left_out}</ul>' if left_out else ""),
    )


def _episodes_by_way(report: Report) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for (way, _), cell in report.table.cells.items():
        ways = found.setdefault(cell.episodes, [])
        if way not in ways:
            ways.append(way)
    return found


def _ways(ways: Sequence[int]) -> str:
    return f"{' and '.join(map(str, ways))} ways"


def _steps(curve: StepsCurve, default: int) -> str:
    title = "Accuracy by adaptation steps"
    if not curve.steps:
        return _section(title, "Left out: the method takes no steps; it learns from the support set at once.", "")
    lines = [
        Line(
            _count(shot, "shot"),
            [
                _point(index, curve.cells[shot, count], f"{shot}-shot, {_count(count, 'step')}")
                for index, count in enumerate(curve.steps)
            ],
        )
        for shot in curve.shots
    ]
    drawn = plot(
        "Accuracy by adaptation steps",
        "One line for each number of support images of a class, over the number of gradient steps. The table has every value.",
        _positions("gradient steps", curve.steps),
        _percent_axis("accuracy, %", curve.cells.values()),
        lines,
        mark=curve.steps.index(default),
        mark_label="default",
    )
    rows = [
        [
            f"{count} (default)" if count == default else str(count),
            *(_cell(curve.cells[shot, count]) for shot in curve.shots),
        ]
        for count in curve.steps
    ]
    head = ["steps", *(_count(shot, "shot") for shot in curve.shots)]
    how = (
        f"{curve.n_way}-way; 0 steps is where the head starts. The same episodes for every number of steps, so differences along "
        "a line are surer than its intervals say."
    )
    table = _table("% right", head, rows)
    return _section(title, how, f'<div class="columns"><figure>{drawn}</figure><div>{table}</div></div>')


def _calibration(reliabilities: Sequence[Reliability]) -> str:
    how = (
        "Queries in ten bins by the confidence of the answer, against how many of them are right. On the dashed line confidence "
        "is accuracy; below it the model is too sure of itself. The expected calibration error is the mean distance from that "
        "line, each bin weighted by its queries (Guo et al. 2017)."
    )
    plots = "".join(map(_reliability, reliabilities))
    return _section("Can its confidence be trusted?", how, f'<div class="columns">{plots}</div>')


def _reliability(found: Reliability) -> str:
    used = [entry for entry in found.bins if entry.count]
    title = f"{found.n_way}-way {found.n_shot}-shot"
    points = [
        Point(
            entry.confidence,
            entry.accuracy,
            *wilson_interval(round(entry.accuracy * entry.count), entry.count),
            f"confidence {entry.confidence:.1%}: {entry.accuracy:.1%} of {entry.count:,} right",
        )
        for entry in used
    ]
    gap = 100 * (found.confidence - found.accuracy)
    words = (
        "about as sure as it is right"
        if abs(gap) < 1
        else f"{abs(gap):.1f} points {'more' if gap > 0 else 'less'} sure than right"
    )
    ticks = [(share / 5, f"{20 * share}") for share in range(6)]
    drawn = plot(
        f"Reliability, {title}",
        f"Expected calibration error {100 * found.error:.1f} points; on average the model is {words}. The table has every bin.",
        Axis("confidence, %", 0, 1, ticks),
        Axis("accuracy, %", 0, 1, ticks),
        [Line("", points)],
        diagonal=True,
        columns=[Column(b.low, b.high, b.count, f"{b.count:,} queries") for b in found.bins],
        columns_label="queries in each bin",
    )
    rows = [
        [
            f"{b.low:.0%} to {b.high:.0%}",
            f"{b.count:,}",
            *((f"{100 * b.confidence:.1f}", f"{100 * b.accuracy:.1f}") if b.count else ("", "")),
        ]
        for b in found.bins
    ]
    table = _table("", ["confidence", "queries", "mean confidence, %", "right, %"], rows)
    return (
        f"<div><h3>{title}<small>expected calibration error {100 * found.error:.1f} points; {words}</small></h3>"
        f"<figure>{drawn}</figure><details><summary>The bins</summary>"
        f'<div class="scroll">{table}</div></details></div>'
    )


def _confusions(report: Report) -> str:
    found, data = report.confusions, report.data
    searched = f"{found.episodes:,} {found.searched_way}-way {found.searched_shot}-shot episodes"
    title, count = "The hardest classes", len(found.classes)
    if not count:
        return _section(title, f"No answer was wrong in {searched} of all classes.", "")
    if count == len(data.class_names):
        how = f"All {count} classes, in {found.episodes:,} {count}-way {found.searched_shot}-shot episodes."
    else:
        how = (
            f"Searched for in {searched} of all classes. Two classes meet by chance, so a confusion was counted against the "
            "queries of episodes where both were present, and ranked by the lower end of its 95% interval. The matrix is from "
            f"other episodes, {found.episodes:,} of these {count} classes alone: there all of them meet every time, and each row "
            "adds up to 100."
        )
    worst = pictures.pairs(found, data)
    aside = f"<div><h3>Confused most often</h3>{worst}</div>" if worst else ""
    return _section(title, how, f'<div class="columns beside"><div>{pictures.matrix(found, data)}</div>{aside}</div>')


def _examples(report: Report) -> str:
    shown = "".join(pictures.example(one, report.data) for one in report.examples)
    how = (
        f"{report.steps.n_way}-way {report.example_shot}-shot, as the model sees the images. Below each query is the class that "
        "it was taken for, and how sure the model was; \N{BALLOT X} and a frame mark wrong answers."
    )
    return _section("Example episodes", how, shown, "long")


def _speed_and_size(report: Report) -> str:
    times = _table(
        "Time of a call",
        ["", "median", "10% to 90%"],
        [[escape(entry.what), _milliseconds(entry.median), _spread(entry)] for entry in report.timings],
    )
    sizes = ""
    if report.about.entries:
        rows = [[escape(name), _bytes(size)] for name, size in report.about.entries.items()]
        sizes = _table("Size of the bundle", ["", "size"], [*rows, ["the file", _bytes(report.about.size)]])
    how = f"{escape(report.machine)}. {escape(report.runs_on)}. Reading and decoding images comes on top."
    return _section("Speed and size", how, f'<div class="columns words"><div>{times}</div><div>{sizes}</div></div>')


def _section(title: str, how: str, body: str, kind: str = "short") -> str:
    return f'<section class="{kind}"><h2>{title}</h2><p>{how}</p>{body}</section>'


def _spread(entry: Timing) -> str:
    return f"{_milliseconds(entry.low).removesuffix(' ms')} to {_milliseconds(entry.high)}"


def _table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML; the first of a row names it."""
    title = f"<caption>{caption}</caption>" if caption else ""
    columns = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in rest) + "</tr>"
        for first, *rest in rows
    )
    return f"<table>{title}<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"


def _cell(result: Evaluation | None) -> str:
    if result is None:
        return "\N{EN DASH}"
    return f"{100 * result.accuracy:.1f} <small>\N{PLUS-MINUS SIGN} {100 * result.ci95:.1f}</small>"


def _point(x: float, result: Evaluation, what: str) -> Point:
    text = f"{what}: {result.accuracy:.1%} \N{PLUS-MINUS SIGN} {result.ci95:.1%} over {result.episodes:,} episodes"
    return Point(x, result.accuracy, result.accuracy - result.ci95, result.accuracy + result.ci95, text)


def _positions(label: str, values: Sequence[int]) -> Axis:
    """The values side by side, for they grow by factors."""
    return Axis(label, -0.25, len(values) - 0.75, [(index, str(value)) for index, value in enumerate(values)])


def _percent_axis(label: str, cells: Iterable[Evaluation]) -> Axis:
    """Round shares that take all values in, five points apart or more."""
    values = list(cells)
    low = math.floor(20 * min(cell.accuracy - cell.ci95 for cell in values) + 1e-9) / 20
    high = min(1.0, math.ceil(20 * max(cell.accuracy + cell.ci95 for cell in values) - 1e-9) / 20)
    low = max(0.0, min(low, high - 0.05))
    step = next(step for step in (1, 2, 5, 10, 20) if 100 * (high - low) / step <= 6)
    first = math.ceil(100 * low / step - 1e-9) * step
    ticks = [(value / 100, str(value)) for value in range(first, round(100 * high) + 1, step)]
    return Axis(label, low, high, ticks)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _milliseconds(seconds: float) -> str:
    value = 1000 * seconds
    return f"{value:.0f} ms" if value >= 100 else f"{value:.1f} ms" if value >= 1 else f"{value:.3f} ms"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB" if count >= 1e3 else f"{count} B"
