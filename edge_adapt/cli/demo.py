"""The command `demo`: the whole way of a device, on the model and the samples that come inside the package."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from PIL import Image

    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.classifier.prediction import Prediction
    from edge_adapt.runtime.graphs import Trust
    from edge_adapt.runtime.images.folders import ImageFile
    from edge_adapt.runtime.model import MetaModel
    from edge_adapt.runtime.sessions import Provider


@dataclass(frozen=True)
class _Samples:
    """Images that come with edge-adapt, and how the demo speaks of them.

    Attributes:
        name: of their folder, and of the bundled model for such images.
        sheet: the picture that the demo leaves.
        cell: width and height of an image on it, pixels.
        asked: how the query images differ from the support images.
        caution: what the model can be expected to know.
    """

    name: str
    sheet: str
    cell: tuple[int, int]
    asked: str
    caution: str


DRAWINGS = _Samples(
    "characters",
    "contact-sheet.png",
    (64, 64),
    "drawn by other hands",
    "This model has seen handwritten characters; for photos, leave out --model or take --model photos.",
)
PHOTOS = _Samples(
    "photos",
    "contact-sheet.jpg",
    (100, 75),
    "taken on other surfaces, in other light",
    "This model has seen everyday photos; for grey line drawings, leave out --model or take --model characters.",
)


@click.command(epilog=words.examples("edge-adapt demo", "edge-adapt demo --model photos --output /tmp/demo"))
@click.option(
    "--model",
    default=DRAWINGS.name,
    show_default=True,
    metavar="MODEL.edge|NAME",
    help="The model to show: `characters` on drawings, `photos` on renders; a file on what fits its channels.",
)
@click.option(
    "--output",
    default="edge-adapt-demo",
    show_default=True,
    type=click.Path(),
    metavar="DIR",
    help="The folder to write.",
)
@options.runs_a_bundle
def demo(model: str, output: str, provider: Provider, threads: int | None, trust: Trust) -> None:
    """Show the main job on samples that come with edge-adapt.

    Adapts a bundled model to classes that it was not trained on, from five images of each: twelve characters, or renders of
    eight small parts for `--model photos`. Then classifies drawings by other hands, or renders on other surfaces in other light.
    Leaves a picture of all of them with the answers, and the adapted classifier. Needs neither network nor PyTorch.
    """
    from edge_adapt import samples
    from edge_adapt.runtime.folder_evaluation import embed_support
    from edge_adapt.runtime.images.folders import open_folder
    from edge_adapt.runtime.model import load_model

    watch = _Stopwatch()
    meta_model = load_model(model, provider, threads, trust)
    shown = _samples_for(model, meta_model)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    images = Path(samples.__file__).parent / shown.name
    runs_on = meta_model.graphs.provider
    size = words.size(meta_model.graphs.bundle.path.stat().st_size)
    click.echo(f"1. Load the model {meta_model.manifest.name!r}, {size}, with {runs_on}: {watch.lap()}")
    click.echo(f"   It was trained on {meta_model.manifest.trained_on}.")

    watch.start()
    support = embed_support(meta_model, open_folder(images / "support"))
    classifier = meta_model.adapt_embedded(support)
    adaptation, duration = classifier.adaptation, watch.lap()
    click.echo(f"2. Adapt it to {len(support)} new classes from {len(adaptation.shots)} support images: {duration}")
    click.echo(f"   Support loss over {words.plural(adaptation.steps, 'step')}: {words.loss_line(adaptation.losses)}")
    click.echo(f"   {words.expectation(classifier)}")

    watch.start()
    files = open_folder(images / "query").classes
    predictions = {label: list(_answers(classifier, of_label)) for label, of_label in files.items()}
    asked = sum(map(len, files.values()))
    duration, of_one = watch.lap(), watch.lap(asked)
    right = sum(prediction.label == label for label, of_label in predictions.items() for prediction in of_label)
    click.echo(f"3. Classify {asked} query images, {shown.asked}: {duration}, {of_one} an image")
    _print_table(predictions)
    click.echo(f"   Accuracy: {right} of {asked} query images right, {right / asked:.1%}\n")

    title = f"{len(support)} classes that the model was not trained on: {right} of {asked} query images right"
    sheet, saved = folder / shown.sheet, folder / f"sample-{shown.name}.edge"
    _save_sheet(_draw_sheet(images, predictions, title, shown.cell), sheet)
    classifier.save(saved)
    click.echo(f"Look at {sheet}: every support and query image with its prediction.")
    click.echo(f"The classifier is {saved}; `edge-adapt info` says more about it.")
    click.echo("\nWith images of your own, a sub-folder for each class:")
    click.echo("  edge-adapt adapt PHOTOS -o mine.edge")
    click.echo("  edge-adapt classify mine.edge NEW_IMAGE.jpg")
    click.echo(shown.caution)


def _answers(classifier: Classifier, files: Iterable[ImageFile]) -> Iterator[Prediction]:
    from edge_adapt.runtime.graphs import embedded_or_raise

    return map(classifier.classify_embedded, embedded_or_raise(classifier.graphs.embed_all(files)))


def _samples_for(name: str, model: MetaModel) -> _Samples:
    """Of a bundled model its own samples, of a file those with as many channels."""
    for shown in (DRAWINGS, PHOTOS):
        if name == shown.name:
            return shown
    return DRAWINGS if model.manifest.preprocessing.channels == 1 else PHOTOS


def _draw_sheet(
    images: Path, predictions: Mapping[str, Sequence[Prediction]], title: str, cell: tuple[int, int]
) -> Image.Image:
    """All support and query images below `images`, with the predictions for the latter, which are in their order."""
    from edge_adapt.reports.contact_sheet import Answer, Row, contact_sheet
    from edge_adapt.runtime.images.folders import open_folder

    def thumbnail(file: ImageFile) -> Image.Image:
        return file.load(cell).image

    support, query = (open_folder(images / part).classes for part in ("support", "query"))
    rows = [
        Row(
            label,
            [thumbnail(file) for file in support[label]],
            [
                Answer(thumbnail(file), prediction.label, prediction.confidence)
                for file, prediction in zip(query[label], of_label, strict=True)
            ],
        )
        for label, of_label in predictions.items()
    ]
    return contact_sheet(
        rows,
        title,
        "support set: learned from these",
        "query set: asked about these (green is right, red is wrong)",
        cell,
    )


def _save_sheet(sheet: Image.Image, path: Path) -> None:
    """Drawings have few colours, and photos are smaller as a JPEG."""
    from edge_adapt.runtime.files import write_atomically

    if path.suffix == ".png":
        write_atomically(path, lambda stream: sheet.quantize(128).save(stream, "PNG", optimize=True))
    else:
        write_atomically(path, lambda stream: sheet.save(stream, "JPEG", quality=88, optimize=True))


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
