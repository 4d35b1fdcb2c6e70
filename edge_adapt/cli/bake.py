"""The command `bake`."""

from __future__ import annotations

from pathlib import Path

import click

from edge_adapt.cli import options, words


@click.command(
    epilog=words.examples(
        "edge-adapt bake mine.edge -o mine.onnx", "edge-adapt bake mine.edge -o mine.onnx --metadata mine.json"
    )
)
@click.argument("classifier", type=click.Path(), metavar="MINE.edge")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MINE.onnx", help="The file to write.")
@options.unknown_share
@click.option(
    "--metadata",
    type=click.Path(),
    metavar="MINE.json",
    help="Write labels, preprocessing and threshold there too, for programs that do not get at the metadata of a graph.",
)
def bake(classifier: str, output: str, unknown_at: float, metadata: str | None) -> None:
    """Write a classifier as one ONNX graph, for any program that can run a model.

    Images in, uint8, already brought to the model's size; out come the probability of each class, the index of the most probable
    one, and how familiar an image is. Labels, preprocessing and the threshold of what is unknown are in the metadata of the file.
    Classes are added and corrected in MINE.edge, which is baked again. Needs the extra `[bake]`.
    """
    import edge_adapt

    edge_adapt.bake(classifier, output, unknown_at=unknown_at, metadata=metadata)
    words.say(f"Saved {output} ({words.size(Path(output).stat().st_size)}).")
