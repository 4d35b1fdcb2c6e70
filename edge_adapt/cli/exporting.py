"""The command that makes a bundle of a run, which needs the extra [train]."""

from __future__ import annotations

from pathlib import Path

import click

from edge_adapt.cli import options


@click.command(
    epilog=options.examples(
        "edge-adapt export run -o model.edge --license CC-BY-4.0",
        "edge-adapt adapt photos -o mine.edge --model model.edge",
    ),
)
@click.argument("run", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MODEL.edge", help="The bundle to write.")
@click.option("--name", default="", metavar="NAME", show_default="as the file", help="What the model is called.")
@click.option("--license", default="", metavar="SPDX", help="Of the weights, such as Apache-2.0.")
def export(run: str, output: str, name: str, license: str) -> None:
    """Write the model in RUN as a bundle, which runs without PyTorch.

    The bundle is compared with PyTorch first: features, head state and logits for several numbers of classes, images and steps,
    then the accuracy over the same 200 episodes. One that disagrees is not written.
    """
    options.require_training("export")
    from edge_adapt.exporting import export_bundle

    click.echo("The bundle against PyTorch:")
    export_bundle(run, output, name=name, license=license, report=lambda comparison: click.echo(f"  {comparison}"))
    click.echo(f"Saved {output} ({options.size(Path(output).stat().st_size)}).")
    click.echo(f"Next: edge-adapt evaluate {output} DATA")
    click.echo(f"      edge-adapt adapt PHOTOS -o MINE.edge --model {output}")
