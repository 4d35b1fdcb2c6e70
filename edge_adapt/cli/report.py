"""The command `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.data.episodes import Sampling
    from edge_adapt.runtime.data.source import DataSource
    from edge_adapt.runtime.graphs import Trust
    from edge_adapt.runtime.model import MetaModel
    from edge_adapt.runtime.sessions import Provider


@click.command(
    epilog=words.examples(
        "edge-adapt report characters omniglot.zip --classes test.txt -o report.html",
        "edge-adapt report model.edge photos --support-files 'train_*' --query-files 'test_*' -o report.html",
        "edge-adapt report mine.edge labelled_photos -o report.html",
    ),
)
@click.argument("model", type=click.Path())
@click.argument("data", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), metavar="REPORT.html", help="The page to write.")
@options.classes("Measure on the classes whose path ends with a line of FILE")
@options.rotations
@options.reads_a_data_set
@options.picks_files
@options.episodes(600, "Episodes to draw for a figure; for more than five ways, fewer in proportion.")
@options.seed("The same seed draws the same episodes.")
@options.runs_a_bundle
@click.pass_context
def report(
    ctx: click.Context,
    model: str,
    data: str,
    output: str,
    classes: tuple[str, ...],
    rotations: bool,
    cache: str | None,
    skip_bad: bool,
    support_files: str | None,
    query_files: str | None,
    episodes: int,
    seed: int,
    provider: Provider,
    threads: int | None,
    trust: Trust,
) -> None:
    """Write a page about a model or a classifier: how good it is on the images in DATA.

    MODEL is a bundle, the name of a bundled model, or the folder of a training run. The page is one HTML file that needs nothing
    else: accuracy by way, shot and number of steps, how far the confidence can be trusted, which classes are confused, example
    episodes, time and size. If MODEL is a classifier that `edge-adapt adapt` wrote, DATA has a sub-folder for each of its
    classes, and `_other` where there are images of none; the page shows its mistakes as pictures. The same figures come from
    `edge-adapt evaluate`.
    """
    from edge_adapt.evaluation import is_run
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.data.episodes import Sampling
    from edge_adapt.runtime.data.source import DataSource
    from edge_adapt.runtime.model import load_of_classes

    loaded = None if is_run(model) else load_of_classes(model, provider, threads, trust)
    if isinstance(loaded, Classifier):
        options.refuse_episodes(ctx, model)
        _report_classifier(loaded, data, output, classes, skip_bad)
    else:
        sampling = Sampling(episodes=episodes, seed=seed, support_files=support_files, query_files=query_files)
        _report_model(
            loaded or model, DataSource(data, classes, rotations, cache, skip_bad), output, sampling, provider, threads
        )
    words.say(f"Look at {output}: {words.size(Path(output).stat().st_size)}, one page that needs nothing else.")


def _report_model(
    model: MetaModel | str, source: DataSource, output: str, sampling: Sampling, provider: Provider, threads: int | None
) -> None:
    from edge_adapt.reports.model.report import report as write_report

    result = write_report(model, source, output, sampling, provider=provider, threads=threads, progress=True)
    for (way, shot), cell in result.table.cells.items():
        if way == result.steps.n_way and shot in result.steps.shots:
            words.say(f"{way}-way {shot}-shot: {cell.accuracy:.2%} +- {cell.ci95:.2%}")


def _report_classifier(
    classifier: Classifier, data: str, output: str, classes: tuple[str, ...], skip_bad: bool
) -> None:
    from edge_adapt.reports.classifier.report import report_classifier

    result = report_classifier(classifier, data, output, classes, progress=True, skip_bad=skip_bad)
    words.say(words.classifier_accuracy(result.evaluation))
