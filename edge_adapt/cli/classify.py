"""The command `classify`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from edge_adapt.cli import live, options, words
from edge_adapt.runtime.errors import DataError, EdgeAdaptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge_adapt.runtime.classifier.adapted import Adapted
    from edge_adapt.runtime.classifier.prediction import Prediction
    from edge_adapt.runtime.graphs import EmbeddedImage, Trust
    from edge_adapt.runtime.images.images import UnreadImage
    from edge_adapt.runtime.sessions import Provider
    from edge_adapt.runtime.streams.vote import Vote

_OF_CLASSES = ("top", "vote", "unknown_at", "never_unknown")
"""Options that a regressor has no use for."""


@click.command(
    epilog=words.examples(
        "edge-adapt classify mine.edge new.jpg",
        "edge-adapt classify mine.edge inbox --top 3 --json > answers.jsonl",
        "edge-adapt classify mine.edge --watch inbox --json",
        "edge-adapt classify mine.edge --camera --vote 3/5",
    ),
)
@click.argument("classifier", type=click.Path(), metavar="MINE.edge")
@click.argument("images", nargs=-1, type=click.Path(), metavar="[IMAGE_OR_FOLDER...]")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Show the K most probable classes.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print a JSON object a line: image, label, confidence, known, familiarity, scores.",
)
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV with a header: image, label, confidence, a column a class."
)
@options.unknown_at
@live.takes_live_images
@options.runs_a_bundle
@click.pass_context
def classify(
    ctx: click.Context,
    classifier: str,
    images: tuple[str, ...],
    top: int | None,
    as_json: bool,
    as_csv: bool,
    frames: str | None,
    watch: str | None,
    camera: int | None,
    every: float | None,
    vote: Vote | None,
    unknown_at: float,
    never_unknown: bool,
    provider: Provider,
    threads: int | None,
    trust: Trust,
) -> None:
    """Say which of its classes a classifier sees in images, or which values a regressor reads from them.

    Prints a line each with image, label and confidence, separated by tabs. Of an image that looks like none of the classes it is
    image, `unknown`, the share of images of the classes that look less like one, and the nearest class with its confidence. Of a
    folder or zip, every image below it is classified; - is one image on standard input. An image that cannot be read is named on
    standard error and passed over; the status is then 1.

    Where MINE.edge was adapted to a CSV, the line has the image and for each value its name, the value and an interval that holds
    of about 9 in 10; --json has `values` and `intervals`, --csv three columns a value.

    Images also come one by one: frames on standard input, files in a folder, or what a camera sees. Each is answered at once, by
    a line that begins with `frame 1` or the file.
    """
    from edge_adapt.runtime.model import load_adapted
    from edge_adapt.runtime.regressor.regressor import Regressor

    live.check_usage(images, frames, watch, camera, every, vote)
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other.")
    failures = 0
    with live.ended_by_signals(watch is not None or camera is not None):
        coming = live.live_images(frames, watch, camera, every)
        mine = load_adapted(classifier, provider, threads, trust)
        if isinstance(mine, Regressor):
            of_classes = [name for name in _OF_CLASSES if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
            if of_classes:
                option = of_classes[0].replace("_", "-")
                raise click.UsageError(f"--{option} is about classes, and {classifier} reads values.")
        answer: Callable[[str, Prediction], None] = partial(_print_prediction, top, as_json)
        if isinstance(mine, Regressor):
            from edge_adapt.cli.readings import says_readings

            say_reading = says_readings(mine, as_json, as_csv)
        elif as_csv:
            from edge_adapt.cli.csv_answers import csv_answers

            answer = csv_answers(mine.labels, top)
        for outcome in _of_files(mine, images) if coming is None else _one_by_one(mine, coming):
            if isinstance(outcome, EdgeAdaptError):
                failures += 1
                click.echo(f"Error: {outcome}", err=True)
                continue
            if isinstance(mine, Regressor):
                say_reading(outcome.name, mine.predict_embedded(outcome))
                continue
            prediction = mine.classify_embedded(outcome, unknown_at=0 if never_unknown else unknown_at)
            if vote is None or vote.changes(prediction.label if prediction.known else "unknown"):
                answer(outcome.name, prediction)
    if failures:
        ctx.exit(1)


def _of_files(mine: Adapted, paths: tuple[str, ...]) -> Iterator[EmbeddedImage | EdgeAdaptError]:
    """Every image in files, folders and zips, and what cannot be read in its place."""
    from edge_adapt.runtime.images.folders import list_images
    from edge_adapt.runtime.images.images import NamedImage

    found: list[UnreadImage | EdgeAdaptError] = []
    for path in paths:
        try:
            if path == live.STANDARD_INPUT:
                found.append(NamedImage(path, live.standard_input(), "standard input"))
            else:
                found += list_images(path)
        except DataError as error:
            found.append(error)
    outcomes = mine.graphs.embed_all(file for file in found if not isinstance(file, EdgeAdaptError))
    for file in found:
        yield file if isinstance(file, EdgeAdaptError) else next(outcomes)


def _one_by_one(mine: Adapted, images: Iterator[UnreadImage]) -> Iterator[EmbeddedImage | EdgeAdaptError]:
    """Each image as it comes; `embed_all` of all of them would wait for the next before it answers."""
    for image in images:
        yield from mine.graphs.embed_all([image])


def _print_prediction(top: int | None, as_json: bool, image: str, prediction: Prediction) -> None:
    best = dict(list(prediction.scores.items())[:top])
    if as_json:
        from edge_adapt.runtime.answers import answer_json

        words.print_json(answer_json(image, replace(prediction, scores=best)))
    else:
        shown = best if top else {prediction.label: prediction.confidence}
        unknown = [] if prediction.known else ["unknown", f"{prediction.familiarity:.1%}"]
        words.say(image, *unknown, *(field for label, score in shown.items() for field in (label, f"{score:.1%}")))
