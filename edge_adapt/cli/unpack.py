"""The command `unpack`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_adapt.cli import words


@click.command(epilog=words.examples("edge-adapt unpack mine.task -o mine.edge"))
@click.argument("task", type=click.Path(), metavar="MINE.task")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MINE.edge", help="The classifier to write.")
@click.option(
    "--model",
    show_default="the bundled one that it was made with",
    metavar="MODEL.edge|NAME",
    help="The model that the task was made with: a file, or a name that `edge-adapt models` lists.",
)
def unpack(task: str, output: str, model: str | None) -> None:
    """Make a classifier of a task and its model: the very file that was packed. A task of another model is refused."""
    from edge_adapt.runtime.packing import unpack as write

    write(task, output, model=model)
    click.echo(f"Saved {output} ({words.size(Path(output).stat().st_size)}).")
