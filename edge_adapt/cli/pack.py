"""The command `pack`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_adapt.cli import words


@click.command(
    epilog=words.examples(
        "edge-adapt pack mine.edge -o mine.task",
        "openssl genpkey -algorithm ed25519 -out key.pem",
        "edge-adapt pack mine.edge -o mine.task --sign key.pem",
    )
)
@click.argument("classifier", type=click.Path(), metavar="MINE.edge")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MINE.task", help="The file to write.")
@click.option("--sign", type=click.Path(), metavar="KEY.pem", help="Sign it with this private key of Ed25519.")
def pack(classifier: str, output: str, sign: str | None) -> None:
    """Write what a classifier, or what reads values, holds beyond its model, for a device that has the model.

    The head, the features of the support set, labels and history, and the SHA-256 of the model: kilobytes where the whole file
    has megabytes. Strip the classifier first if names and history are nobody's business. Who unpacks a signed one can be sure
    whose it is, and that nothing was changed; signing needs the extra `[sign]`.
    """
    from edge_adapt.runtime.packing import pack as write

    write(classifier, output, sign=sign)
    sizes = [words.size(Path(path).stat().st_size) for path in (output, classifier)]
    words.say(f"Saved {output} ({sizes[0]}, where {classifier} has {sizes[1]}).")
