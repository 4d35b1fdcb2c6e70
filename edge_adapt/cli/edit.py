"""The commands that edit a classifier or a regressor: each adapts anew, to the support set as it is then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from edge_adapt.cli import options, words
from edge_adapt.runtime.errors import DataError

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.adapted import Adapted
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.graphs import Trust
    from edge_adapt.runtime.images.images import UnreadImage
    from edge_adapt.runtime.regressor.regressor import Regressor
    from edge_adapt.runtime.sessions import Provider

_classifier = click.argument("classifier", type=click.Path(), metavar="MINE.edge")
_output = click.option(
    "-o",
    "--output",
    type=click.Path(),
    metavar="FILE.edge",
    show_default="MINE.edge itself",
    help="Write the edited classifier here, and leave the original.",
)


def _edit(
    path: str,
    output: str | None,
    change: Callable[[Any], Adapted],
    trust: Trust,
    provider: Provider = "cpu",
    threads: int | None = None,
) -> None:
    """Change a classifier or a regressor, and say what was done and what it is then."""
    from edge_adapt.cli.readings import expectations
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.editing import edit
    from edge_adapt.runtime.files import require_output
    from edge_adapt.runtime.regressor.regressor import Regressor

    if output is not None:
        require_output(output, path)
    mine = edit(path, change, output, provider, threads, trust)
    counts, edits, done = mine.support.counts, mine.history.edits, mine.history.done
    images = sum(counts.values())
    if edits:
        words.say(f"Done: {edits[done - 1].what}" if done else "Done: nothing since it was adapted")
    if edits[done:]:
        words.say(f"Undone: {edits[done].what}; `edge-adapt redo` does it again.")
    if isinstance(mine, Classifier):
        classes = words.plural(len(mine.labels), "class", "classes")
        words.say(f"{output or path}: {classes}, {words.plural(images, 'image')}")
        words.say(words.expectation(mine))
    elif isinstance(mine, Regressor):
        words.say(f"{output or path}: {words.plural(images, 'photo')}")
        for line in expectations(mine):
            words.say(line)


def _of_classes(change: Callable[[Classifier], Classifier]) -> Callable[[Adapted], Classifier]:
    """A change that a regressor has no use for."""
    from edge_adapt.runtime.classifier.classifier import Classifier

    def checked(mine: Adapted) -> Classifier:
        if not isinstance(mine, Classifier):
            raise DataError(
                f"{mine.graphs.bundle.path} reads values and has no classes; add or correct photos instead."
            )
        return change(mine)

    return checked


def _taught(regressor: Regressor, files: Sequence[UnreadImage], said: str) -> Regressor:
    """With photos that read so."""
    return regressor.add_unread(files, [regressor.row(said)] * len(files))


@click.command(
    epilog=words.examples("edge-adapt add mine.edge foam foam/*.jpg", "edge-adapt add mine.edge _other yard/")
)
@_classifier
@click.argument("label", metavar="CLASS|VALUE")
@click.argument("images", nargs=-1, required=True, type=click.Path(), metavar="IMAGE_OR_FOLDER...")
@_output
@options.runs_a_bundle
def add(
    classifier: str,
    label: str,
    images: tuple[str, ...],
    output: str | None,
    provider: Provider,
    threads: int | None,
    trust: Trust,
) -> None:
    """Add images of a class, old or new, or photos of a value.

    The photos that MINE.edge was adapted to are not needed: their features are in the file. What it knew it still knows, and the
    result is that of adapting once to all photos. CLASS may be _other, for photos of no class: what looks like them is the sooner
    unknown. Where MINE.edge reads values, VALUE is what the photos read, several with commas between.
    """
    from edge_adapt.runtime.images.folders import list_images
    from edge_adapt.runtime.regressor.regressor import Regressor

    files = [file for path in images for file in list_images(path)]

    def change(mine: Classifier | Regressor) -> Adapted:
        return _taught(mine, files, label) if isinstance(mine, Regressor) else mine.add_unread(label, files)

    _edit(classifier, output, change, trust, provider, threads)


@click.command(
    epilog=words.examples("edge-adapt remove mine.edge foam", "edge-adapt remove mine.edge foam blurred.jpg")
)
@_classifier
@click.argument("label", metavar="CLASS|PHOTO")
@click.argument("shots", nargs=-1, metavar="[SHOT...]")
@_output
@options.untrusted
def remove(classifier: str, label: str, shots: tuple[str, ...], output: str | None, trust: Trust) -> None:
    """Remove a class, or some of its images.

    SHOT is the name of an image as `edge-adapt info --json` shows it, or the beginning of its SHA-256. Where MINE.edge
    reads values, only photos are named.
    """
    _edit(classifier, output, lambda mine: mine.remove(label, *shots), trust)


@click.command(epilog=words.examples("edge-adapt rename mine.edge foam styrofoam"))
@_classifier
@click.argument("label", metavar="CLASS")
@click.argument("name", metavar="NEW_NAME")
@_output
@options.untrusted
def rename(classifier: str, label: str, name: str, output: str | None, trust: Trust) -> None:
    """Give a class another name."""
    _edit(classifier, output, _of_classes(lambda mine: mine.rename(label, name)), trust)


@click.command(epilog=words.examples("edge-adapt merge mine.edge cup mug --into cup"))
@_classifier
@click.argument("labels", nargs=-1, required=True, metavar="CLASS...")
@click.option(
    "--into", required=True, metavar="CLASS", help="The class that has all images then; one of them, or a new one."
)
@_output
@options.untrusted
def merge(classifier: str, labels: tuple[str, ...], into: str, output: str | None, trust: Trust) -> None:
    """Make one class of several."""
    _edit(classifier, output, _of_classes(lambda mine: mine.merge(labels, into)), trust)


@click.command(
    epilog=words.examples("edge-adapt correct mine.edge new.jpg foam", "edge-adapt correct mine.edge new.jpg --not cup")
)
@_classifier
@click.argument("image", type=click.Path())
@click.argument("label", required=False, metavar="[CLASS|VALUE]")
@click.option("--not", "never", metavar="CLASS", help="Instead of the right class, one that it is not.")
@_output
@options.runs_a_bundle
def correct(
    classifier: str,
    image: str,
    label: str | None,
    never: str | None,
    output: str | None,
    provider: Provider,
    threads: int | None,
    trust: Trust,
) -> None:
    """Learn from a mistake: IMAGE is of CLASS, or reads VALUE.

    It becomes an image of that class, and leaves any other. With --not it leaves the class that it is not, or becomes a photo of
    no class if it was of none.
    """
    if (label is None) == (never is None):
        raise click.UsageError("give either CLASS, which the image is, or --not CLASS, which it is not.")
    from edge_adapt.runtime.images.images import named
    from edge_adapt.runtime.regressor.regressor import Regressor

    def change(mine: Classifier | Regressor) -> Adapted:
        if isinstance(mine, Regressor) and label is not None:
            return _taught(mine, [named(image)], label)
        return _of_classes(lambda classifier: classifier.correct(image, label, never=never))(mine)

    _edit(classifier, output, change, trust, provider, threads)


@click.command(epilog=words.examples("edge-adapt undo mine.edge"))
@_classifier
@_output
@options.untrusted
def undo(classifier: str, output: str | None, trust: Trust) -> None:
    """Take the last edit back."""
    _edit(classifier, output, lambda mine: mine.undo(), trust)


@click.command(epilog=words.examples("edge-adapt redo mine.edge"))
@_classifier
@_output
@options.untrusted
def redo(classifier: str, output: str | None, trust: Trust) -> None:
    """Do again what `undo` took back."""
    _edit(classifier, output, lambda mine: mine.redo(), trust)


@click.command(epilog=words.examples("edge-adapt strip mine.edge -o to-hand-on.edge"))
@_classifier
@_output
@options.untrusted
def strip(classifier: str, output: str | None, trust: Trust) -> None:
    """Remove what says where a classifier comes from: names and SHA-256s of its images, and its history.

    What it answers stays the same, and it can still be edited.
    """
    _edit(classifier, output, lambda mine: mine.strip(), trust)


@click.command(epilog=words.examples("edge-adapt log mine.edge"))
@_classifier
@options.as_json
def log(classifier: str, as_json: bool) -> None:
    """List the edits of a classifier, the first to the last; a - marks what is undone."""
    from edge_adapt.runtime.model import load_adapted

    history = load_adapted(classifier, "cpu").history
    for number, edit in enumerate(history.edits):
        done = number < history.done
        if as_json:
            words.print_json(
                {"at": edit.at, "what": edit.what, "done": done, "lost": len(edit.lost), "gained": len(edit.gained)}
            )
        else:
            words.say(f"{' ' if done else '-'} {edit.at}  {edit.what}")
    if not history.edits and not as_json:
        words.say(f"{classifier} was never edited.")
