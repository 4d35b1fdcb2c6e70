"""The command `pull`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_adapt.cli import options, words


@click.command(
    epilog=words.examples(
        "edge-adapt pull https://models.example/mine.task -o mine.edge --verify public.pem",
        "edge-adapt pull http://192.168.1.20:8000/classifier.task -o mine.edge --token-file token",
    )
)
@click.argument("url")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MINE.edge", help="The file to write.")
@options.task_model
@options.verify
@options.token_file
@click.option("--replace", is_flag=True, help="Write over a file that no pull wrote, or that was edited since.")
def pull(url: str, output: str, model: str | None, verify: str | None, token_file: str | None, replace: bool) -> None:
    """Fetch a task that `edge-adapt pack` wrote, or a bundle, over HTTP or HTTPS, and make MINE.edge of it.

    It is checked as `unpack` does, and takes the place of MINE.edge whole or not at all. What has not changed since it was
    pulled last is not sent again: run it as often as you like, from a timer. A bundle runs graphs of its own: pull one from where
    you would take a program.
    """
    from edge_adapt.runtime.pulling import pull as fetch

    token = options.token(token_file)
    if fetch(url, output, model=model, verify=verify, token=token, replace=replace):
        signed = f", signed by the owner of {verify}" if verify else ""
        words.say(f"Saved {output} ({words.size(Path(output).stat().st_size)}){signed}.")
    else:
        words.say(f"{output} is what {url} has.")
