"""The command that makes a bundle of a run, which needs the extra [train]."""

from __future__ import annotations

from typing import Literal

import click

from edge_adapt.cli import options, words
from edge_adapt.extras import require_training


@click.command(
    epilog=words.examples(
        "edge-adapt export run -o model.edge --license CC-BY-4.0",
        "edge-adapt export run -o small.edge --precision int8 --calibrate photos",
    ),
)
@click.argument("run", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MODEL.edge", help="The bundle to write.")
@options.says_whose
@click.option(
    "--all-layers",
    is_flag=True,
    help="Adapt all layers on the device, as MAML does in training; of runs whose method does so and whose backbone is conv4.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "int8"]),
    default="fp32",
    show_default=True,
    help="Of the backbone: fp16 stores its weights in half, int8 computes in 8 bits.",
)
@click.option(
    "--calibrate",
    type=click.Path(),
    metavar="DATA",
    show_default="images of validation or training classes that the run kept",
    help="With int8: images as the model will see them, a folder or a zip, to find the ranges of values with.",
)
@click.option(
    "--allow-drop",
    type=click.FloatRange(0, 100),
    metavar="POINTS",
    show_default="1",
    help="With fp16 or int8: points of accuracy after adaptation that it may cost.",
)
def export(
    run: str,
    output: str,
    name: str,
    license: str,
    all_layers: bool,
    precision: Literal["fp32", "fp16", "int8"],
    calibrate: str | None,
    allow_drop: float | None,
) -> None:
    """Write the model in RUN as a bundle, which runs without PyTorch.

    The bundle is compared with PyTorch first: features, head state and logits for several numbers of classes, images and steps,
    then the accuracy over the same 200 episodes. One in fp16 or int8 is then compared with that in fp32: features, accuracy after
    adaptation over the same 400 episodes, size and latency. One that disagrees or loses too much is not written.
    """
    if calibrate is not None and precision != "int8":
        raise click.UsageError("--calibrate is for --precision int8.")
    if allow_drop is not None and precision == "fp32":
        raise click.UsageError("--allow-drop is for --precision fp16 and int8.")
    require_training("export")
    from edge_adapt.bundles.from_run import export_bundle
    from edge_adapt.bundles.provenance import Provenance
    from edge_adapt.export.gates.precision import ALLOWED_DROP, Precision
    from edge_adapt.training.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(run)
    words.say(f"The model after {words.exported_step(checkpoint)}.")
    click.echo("The bundle against PyTorch:")
    export_bundle(
        run,
        output,
        provenance=Provenance(name, license),
        all_layers=all_layers,
        precision=Precision(precision, calibrate, ALLOWED_DROP if allow_drop is None else allow_drop),
        report=lambda comparison: words.say(f"  {comparison}"),
    )
    words.say_saved(output)
