"""The command `demo`: the whole way of a device, on the model and the samples that come inside the package."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_adapt.runtime.model import Prediction
    from edge_adapt.runtime.sessions import Provider

SHEET, CLASSIFIER = "contact-sheet.png", "sample-characters.edge"
"""What the demo leaves behind."""


@click.command(epilog=options.examples("edge-adapt demo", "edge-adapt demo --output /tmp/demo"))
@click.option(
    "--output",
    default="edge-adapt-demo",
    show_default=True,
    type=click.Path(),
    metavar="DIR",
    help="The folder to write.",
)
@options.runs_a_bundle
def demo(output: str, provider: Provider, threads: int | None) -> None:
    """Show the main job on samples that come with edge-adapt.

    Adapts the bundled model to twelve characters that it was not trained on, from five drawings of each, and classifies
    drawings by other hands. Leaves a picture of all of them with the answers, and the adapted classifier. Needs neither network
    nor PyTorch.
    """
    from edge_adapt import samples
    from edge_adapt.contact_sheet import Answer, Row, contact_sheet
    from edge_adapt.runtime.files import write_atomically
    from edge_adapt.runtime.folders import open_folder
    from edge_adapt.runtime.images import load_image
    from edge_adapt.runtime.labelled import embed_support
    from edge_adapt.runtime.leave_one_out import folds
    from edge_adapt.runtime.model import load_model

    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    characters = Path(samples.__file__).parent / "characters"

    watch = _Stopwatch()
    model = load_model(options.DEFAULT_MODEL, provider, threads)
    runs_on = model.graphs.provider
    size = options.size(model.graphs.bundle.path.stat().st_size)
    click.echo(f"1. Load the model {model.manifest.name!r}, {size}, with {runs_on}: {watch.lap()}")
    click.echo(f"   It was trained on {model.manifest.trained_on}.")

    watch.start()
    support = embed_support(model, characters / "support")
    classifier = model.adapt_embedded(support)
    adapted, duration = classifier.adapted, watch.lap()
    click.echo(f"2. Adapt it to {len(support)} new classes from {len(adapted.shots)} support images: {duration}")
    click.echo(f"   Support loss over {options.plural(adapted.steps, 'step')}: {options.loss_line(adapted.losses)}")
    click.echo(f"   {options.expectation(adapted.leave_one_out, len(folds(adapted.support_targets)))}")

    watch.start()
    files = open_folder(characters / "query").classes
    predictions = {
        label: classifier.classify_all(file.read() for file in of_label) for label, of_label in files.items()
    }
    asked = sum(map(len, files.values()))
    duration, of_one = watch.lap(), watch.lap(asked)
    right = sum(prediction.label == label for label, of_label in predictions.items() for prediction in of_label)
    click.echo(f"3. Classify {asked} query images, drawn by other hands: {duration}, {of_one} an image")
    _print_table(predictions)
    click.echo(f"   Accuracy: {right} of {asked} query images right, {right / asked:.1%}\n")

    shown = open_folder(characters / "support").classes
    rows = [
        Row(
            label,
            [load_image(file.read()).image for file in shown[label]],
            [
                Answer(load_image(file.read()).image, prediction.label, prediction.confidence)
                for file, prediction in zip(files[label], predictions[label], strict=True)
            ],
        )
        for label in support
    ]
    sheet = contact_sheet(
        rows,
        f"{len(support)} classes that the model was not trained on: {right} of {asked} query images right",
        "support set: learned from these",
        "query set: asked about these (green is right, red is wrong)",
    )
    write_atomically(folder / SHEET, lambda stream: sheet.quantize(128).save(stream, "PNG", optimize=True))
    classifier.save(folder / CLASSIFIER)
    click.echo(f"Look at {folder / SHEET}: every support and query image with its prediction.")
    click.echo(f"The classifier is {folder / CLASSIFIER}; `edge-adapt info` says more about it.")
    click.echo("\nWith images of your own, a sub-folder for each class:")
    click.echo("  edge-adapt adapt PHOTOS -o mine.edge")
    click.echo("  edge-adapt classify mine.edge NEW_IMAGE.jpg")
    click.echo("This model has seen handwritten characters; `edge-adapt train` makes one for images of another kind.")


class _Stopwatch:
    """Says how long ago `start` was called, divided among `parts`."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        self._began = time.perf_counter()

    def lap(self, parts: int = 1) -> str:
        milliseconds = 1000 * (time.perf_counter() - self._began) / parts
        return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def _print_table(predictions: Mapping[str, Sequence[Prediction]]) -> None:
    """A line a class: right answers, mean confidence, mistakes."""
    width = max(len("class"), *map(len, predictions))
    click.echo(f"   {'class':<{width}}  right  confidence  mistakes")
    for label, of_label in predictions.items():
        right = sum(prediction.label == label for prediction in of_label)
        confidence = sum(prediction.confidence for prediction in of_label) / len(of_label)
        mistakes = [f"{answer.label} ({answer.confidence:.0%})" for answer in of_label if answer.label != label]
        line = f"   {label:<{width}}  {right:>2}/{len(of_label):<2}  {confidence:>10.0%}  {', '.join(mistakes)}"
        click.echo(line.rstrip())
