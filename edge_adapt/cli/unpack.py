"""The command `unpack`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_adapt.cli import options, words


@click.command(
    epilog=words.examples(
        "edge-adapt unpack mine.task -o mine.edge",
        "openssl pkey -in key.pem -pubout -out public.pem",
        "edge-adapt unpack mine.task -o mine.edge --verify public.pem",
    )
)
@click.argument("task", type=click.Path(), metavar="MINE.task")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MINE.edge", help="The classifier to write.")
@options.task_model
@options.verify
def unpack(task: str, output: str, model: str | None, verify: str | None) -> None:
    """Make a classifier of a task and its model: the very file that was packed. A task of another model is refused.

    A signature is looked at with --verify alone.
    """
    from edge_adapt.runtime.packing import unpack as write

    write(task, output, model=model, verify=verify)
    signed = f", signed by the owner of {verify}" if verify else ""
    words.say(f"Saved {output} ({words.size(Path(output).stat().st_size)}){signed}.")
