"""The command `adapt`."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.graphs import EmbeddedImage, Trust
    from edge_adapt.runtime.model_choice import Choice
    from edge_adapt.runtime.sessions import Provider


_WORST = 2  # findings that are shown; `check` shows all


@click.command(
    epilog=words.examples(
        "edge-adapt adapt photos -o mine.edge",
        "edge-adapt classify mine.edge new.jpg",
        "edge-adapt adapt gauge.csv -o gauge.edge",
    ),
)
@click.argument("photos", type=click.Path(), metavar="PHOTOS")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MINE.edge", help="The classifier to write.")
@options.model_of_photos("The model to adapt: a file, or a name that `edge-adapt models` lists.")
@click.option(
    "--steps",
    type=click.IntRange(min=0),
    metavar="S",
    show_default="as in training",
    help="Gradient steps.",
)
@options.skip_bad
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object: the model, the classes and what to expect."
)
@options.runs_a_bundle
def adapt(
    photos: str,
    output: str,
    model: str | None,
    steps: int | None,
    skip_bad: bool,
    as_json: bool,
    provider: Provider,
    threads: int | None,
    trust: Trust,
) -> None:
    """Teach a model the classes in PHOTOS, or the values that a CSV has of photos.

    PHOTOS is a folder or a zip with one sub-folder a class, 2 to 200 of them, each with one image or more. Needs no network and
    takes seconds. The accuracy to expect is estimated by leaving out one image at a time.

    Without --model, it is the bundled model that suits the images: `characters` for grey line drawings and `photos` for all else,
    unless another is clearly better at images that are left out.

    PHOTOS may also be a CSV with a line a photo, 3 to 200 of them: its path, and what it reads in one column or more, such as
    image,bar in the first line and gauge1.jpg,3.5 in the next. `classify` then says values, with an interval that holds of about
    9 in 10. Ten photos over the whole range are a good start. Without --model it is `photos-small`.
    """
    from edge_adapt.runtime.files import require_output
    from edge_adapt.runtime.folder_evaluation import embed_support
    from edge_adapt.runtime.images.folders import open_folder
    from edge_adapt.runtime.model import MODELS, load_model
    from edge_adapt.runtime.model_choice import choose_model

    if Path(photos).suffix.lower() == ".csv":
        from edge_adapt.cli.readings import say_adapted
        from edge_adapt.runtime.adaptation import regress

        require_output(output, *MODELS.glob("*.edge"), *filter(None, [model]), photos)
        regressor = regress(
            photos,
            model=model,
            steps=steps,
            provider=provider,
            threads=threads,
            progress=True,
            skip_bad=skip_bad,
            trust=trust,
        )
        regressor.save(output)
        say_adapted(regressor, output, as_json)
        return
    images: Mapping[str, Sequence[EmbeddedImage]] | None = None
    if model:
        meta_model = load_model(model, provider, threads, trust)
        require_output(output, meta_model.graphs.bundle.path, photos)
    else:
        require_output(output, *MODELS.glob("*.edge"), photos)
        choice = choose_model(photos, provider, threads, True, steps, skip_bad)
        if not as_json:
            words.say(_chosen(choice))
        meta_model, images = choice.model, choice.images
    images = images or embed_support(meta_model, open_folder(photos), True, steps, skip_bad)
    classifier = meta_model.adapt_embedded(images, steps)
    if not as_json:
        _print_classifier(classifier)
    classifier.save(output)
    if as_json:
        words.print_json(_described(classifier, output))
        return
    words.say(f"Saved {output} ({words.size(Path(output).stat().st_size)}).")
    words.say(f"Next: edge-adapt classify {output} IMAGE_OR_FOLDER")


def _described(classifier: Classifier, output: str) -> dict[str, object]:
    from edge_adapt.runtime.classifier.estimate import advice

    expected = classifier.estimate
    return {
        "file": output,
        "model": classifier.manifest.name,
        "classes": classifier.counts,
        "steps": classifier.steps,
        "losses": classifier.adaptation.losses,
        "estimate": None if expected is None else asdict(expected),
        "add": advice(classifier.counts),
    }


def _print_classifier(classifier: Classifier) -> None:
    from edge_adapt.runtime.classifier.check import check_support

    images = classifier.counts
    total = sum(images.values())
    words.say(f"{words.plural(len(images), 'class', 'classes')}, {words.plural(total, 'image')}:")
    counts = words.filled(f"{label} {count}" for label, count in images.items())
    click.echo(textwrap.indent(counts, "  "))
    adaptation = classifier.adaptation
    words.say(f"Support loss over {words.plural(adaptation.steps, 'step')}: {words.loss_line(adaptation.losses)}")
    if adaptation.losses and adaptation.losses[-1] > adaptation.losses[0]:
        click.echo("The loss rose: these steps are too large for the images; fewer may do better, try --steps 0.")
    words.say(words.expectation(classifier))
    if helpful := words.most_helpful(classifier):
        words.say(helpful)
    for finding in check_support(classifier.graphs, classifier.support, classifier.steps, classifier.left_out)[:_WORST]:
        words.say(f"Look at this: {finding.text}.")


def _chosen(choice: Choice) -> str:
    """The model and the reason: how right each is when images are left out, or what the images look like where that decides."""
    from edge_adapt.runtime.model_choice import DRAWINGS, PHOTOS, candidates

    if choice.leave_one_out:
        first, *others = choice.leave_one_out.items()
        shares = [f"leave-one-out {first[1]:.0%}", *(f"{name} {share:.0%}" for name, share in others)]
        unclear = choice.name == choice.suggested and any(share >= first[1] for _, share in others)
        looks = "photos" if choice.name == PHOTOS else "grey line drawings"
        reason = ", ".join(shares) + (f": no clear difference, and these are {looks}" if unclear else "")
    elif len(candidates()) == 1:
        reason = "the only one that is bundled"
    else:
        reason = {
            PHOTOS: f"photos; --model {DRAWINGS} is for line drawings",
            DRAWINGS: f"grey line drawings; --model {PHOTOS} is for photos",
        }[choice.name]
    return f"Model: {choice.name} ({reason})"
