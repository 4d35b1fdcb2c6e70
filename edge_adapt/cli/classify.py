"""The command `classify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words
from edge_adapt.runtime.errors import DataError, EdgeAdaptError

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.classifier import Prediction
    from edge_adapt.runtime.images.folders import ImageFile
    from edge_adapt.runtime.sessions import Provider


@click.command(
    epilog=words.examples(
        "edge-adapt classify mine.edge new.jpg", "edge-adapt classify mine.edge inbox --top 3 --json > answers.jsonl"
    ),
)
@click.argument("classifier", type=click.Path(), metavar="MINE.edge")
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE_OR_FOLDER...")
@click.option("--top", type=click.IntRange(min=1), metavar="K", help="Show the K most probable classes.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line: image, label, confidence, scores.")
@options.runs_a_bundle
@click.pass_context
def classify(
    ctx: click.Context,
    classifier: str,
    images: tuple[str, ...],
    top: int | None,
    as_json: bool,
    provider: Provider,
    threads: int | None,
) -> None:
    """Say which of its classes a classifier sees in images.

    Prints a line each with image, label and confidence, separated by tabs. Of a folder or zip, every image below it is
    classified. An image that cannot be read is named on standard error and passed over; the status is then 1.
    """
    from edge_adapt.runtime.images.folders import list_images
    from edge_adapt.runtime.model import load_classifier

    mine = load_classifier(classifier, provider, threads)

    found: list[ImageFile | EdgeAdaptError] = []
    for path in images:
        try:
            found += list_images(path)
        except DataError as error:
            found.append(error)
    outcomes = mine.graphs.embed_all(file for file in found if not isinstance(file, EdgeAdaptError))
    failures = 0
    for file in found:
        outcome = file if isinstance(file, EdgeAdaptError) else next(outcomes)
        if isinstance(outcome, EdgeAdaptError):
            failures += 1
            click.echo(f"Error: {outcome}", err=True)
        else:
            _print_prediction(outcome.name, mine.classify_embedded(outcome), top, as_json)
    if failures:
        ctx.exit(1)


def _print_prediction(image: str, prediction: Prediction, top: int | None, as_json: bool) -> None:
    best = dict(list(prediction.scores.items())[:top])
    if as_json:
        words.print_json(
            {"image": image, "label": prediction.label, "confidence": prediction.confidence, "scores": best}
        )
    else:
        shown = best if top else {prediction.label: prediction.confidence}
        click.echo("\t".join([image, *(f"{label}\t{score:.1%}" for label, score in shown.items())]))
