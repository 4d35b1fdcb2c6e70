"""The command `models`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edge_adapt.cli import words

if TYPE_CHECKING:
    pass


@click.command(epilog=words.examples("edge-adapt models", "edge-adapt adapt photos -o mine.edge --model characters"))
def models() -> None:
    """List the models that come with edge-adapt.

    Where a command takes a model, it takes one of these names for a file's.
    """
    from edge_adapt.runtime.bundle.bundle import Bundle
    from edge_adapt.runtime.model import MODELS
    from edge_adapt.runtime.model import models as bundled

    names = bundled()
    if not names:
        click.echo("No model comes with this edge-adapt; give a file where a model is needed.")
    for name in names:
        bundle = Bundle.open(MODELS / f"{name}.edge")
        manifest = bundle.manifest
        words.say(f"{name}  {words.size(bundle.path.stat().st_size)}, {manifest.method}")
        for line in (
            f"trained on {manifest.trained_on}",
            *(words.accuracy(asdict(entry)) for entry in manifest.accuracy),
        ):
            words.say(f"  {line}")
