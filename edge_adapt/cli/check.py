"""The command `check`."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words
from edge_adapt.runtime.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from edge_adapt.runtime.classifier.check import Finding
    from edge_adapt.runtime.graphs import Trust
    from edge_adapt.runtime.images.folders import ImageFile
    from edge_adapt.runtime.sessions import Provider

_CELL = (96, 96)
_MOST_SHOWN = 12  # sound photos of a class on the sheet


@click.command(epilog=words.examples("edge-adapt check photos", "edge-adapt check photos --sheet suspects.jpg"))
@click.argument("path", type=click.Path(), metavar="PHOTOS_OR_MINE.edge")
@options.model_of_photos("The model to see a folder of photos with.")
@click.option(
    "--sheet", type=click.Path(), metavar="FILE.jpg", help="Draw the photos of a folder, with the suspects marked."
)
@options.skip_bad
@options.as_json
@options.runs_a_bundle
def check(
    path: str,
    model: str | None,
    sheet: str | None,
    skip_bad: bool,
    as_json: bool,
    provider: Provider,
    threads: int | None,
    trust: Trust,
) -> None:
    """Find what will cost accuracy in a folder of photos, or in a classifier.

    Photos that look mislabelled, with the class that they look like; near duplicates, within a class and across; classes that
    will be confused, that have a single photo, or more than three times as many as others; and, of a folder, photos that are too
    dark, blurred or smaller than the model's input. Of a regressor, or a CSV of photos and what they read: readings that do not
    fit the others. The worst come first. The status is 0 whatever is found.
    """
    from edge_adapt.runtime.checking import check as find
    from edge_adapt.runtime.files import require_output

    if sheet is not None:
        if not Path(path).is_dir() and Path(path).suffix.lower() != ".zip":
            raise click.UsageError("--sheet draws photos, and a classifier holds none; give the folder of photos.")
        require_output(sheet, path)
    findings = find(
        path, model=model, provider=provider, threads=threads, progress=True, skip_bad=skip_bad, trust=trust
    )
    for finding in findings:
        if as_json:
            words.print_json(asdict(finding))
        else:
            words.say(f"{finding.kind}: {finding.text}.")
    if not findings and not as_json:
        click.echo("Nothing to complain of.")
    if sheet is not None:
        _draw(path, findings, Path(sheet))
        if not as_json:
            words.say(f"Look at {sheet}.")


def _picture(file: ImageFile) -> Image.Image | None:
    """None where it cannot be read and was skipped."""
    try:
        return file.load(_CELL).image
    except ImageError:
        return None


def _draw(path: str, findings: Sequence[Finding], sheet: Path) -> None:
    """Each class with its sound photos, and those that something is wrong with."""
    from edge_adapt.reports.contact_sheet import Answer, Row, contact_sheet
    from edge_adapt.runtime.files import write_atomically
    from edge_adapt.runtime.images.folders import open_folder

    marks: dict[str, str] = {}
    for finding in findings:
        looks_like = finding.classes[1] if finding.kind == "mislabelled" else finding.kind.split()[0]
        for image in finding.images:
            marks.setdefault(image, looks_like)
    rows = []
    for label, files in open_folder(path).classes.items():
        sound = filter(None, (_picture(file) for file in files if file.name not in marks))
        marked = [Answer(file.load(_CELL).image, marks[file.name], None) for file in files if file.name in marks]
        rows.append(Row(label, list(islice(sound, _MOST_SHOWN)), marked))
    count = len(marks)
    picture = contact_sheet(
        rows,
        f"{words.plural(count, 'photo')} to look at",
        "nothing found",
        "what it looks like, or what is wrong",
        _CELL,
    )
    kind = "PNG" if sheet.suffix.lower() == ".png" else "JPEG"
    write_atomically(sheet, lambda stream: picture.save(stream, kind, quality=88))
