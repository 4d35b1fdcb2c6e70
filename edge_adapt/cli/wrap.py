"""The command that makes a bundle of somebody's own ONNX feature extractor, which needs the extra [train]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_adapt.cli import options, words
from edge_adapt.extras import require_training

if TYPE_CHECKING:
    from edge_adapt.export.embed.from_extractor import PixelNormalization
    from edge_adapt.networks.gradient_head import Initialization


@click.command(
    epilog=words.examples(
        "edge-adapt wrap mobilenet.onnx --images photos -o model.edge",
        "edge-adapt wrap encoder.onnx --images photos.zip -o model.edge --normalize symmetric --image-size 96",
    ),
)
@click.argument("extractor", metavar="EMBED.onnx", type=click.Path())
@click.option("--images", required=True, type=click.Path(), metavar="DATA", help="Images to learn the head from.")
@click.option("-o", "--output", required=True, type=click.Path(), metavar="MODEL.edge", help="The bundle to write.")
@options.classes("Learn from the classes whose path ends with a line of FILE")
@options.reads_a_data_set
@click.option(
    "--normalize",
    type=click.Choice(["imagenet", "unit", "symmetric", "none"]),
    show_default="what does best on DATA; none for uint8",
    help="What EMBED.onnx takes: pixels less ImageNet's mean over its std, in 0..1, in -1..1, or in 0..255.",
)
@click.option(
    "--mean", metavar="R,G,B", help="Instead of --normalize: the mean to take from pixels in 0..1, one number or three."
)
@click.option("--std", metavar="R,G,B", help="What to divide by after that.")
@click.option(
    "--image-size",
    type=click.IntRange(8, 2048),
    metavar="PIXELS",
    show_default="as EMBED.onnx says",
    help="Height and width of the images, where EMBED.onnx leaves them open.",
)
@options.part
@click.option("--output-name", metavar="TENSOR", show_default="the only output", help="The tensor with the features.")
@click.option(
    "--initialization",
    type=click.Choice(["prototype", "zero"]),
    default="prototype",
    show_default=True,
    help="Where the last layer starts from.",
)
@options.steps(20, True, "Gradient steps of the inner loop.")
@options.threads
@options.seed("Of the episodes.")
@options.says_whose
def wrap(
    extractor: str,
    images: str,
    output: str,
    classes: tuple[str, ...],
    cache: str | None,
    skip_bad: bool,
    normalize: str | None,
    mean: str | None,
    std: str | None,
    image_size: int | None,
    part: float | None,
    output_name: str | None,
    initialization: Initialization,
    steps: int,
    threads: int | None,
    seed: int,
    name: str,
    license: str,
) -> None:
    """Make a bundle of any ONNX feature extractor, frozen.

    EMBED.onnx takes images, [B, C, H, W] or [B, H, W, C], float or uint8, and gives one vector an image, or a feature map. DATA
    is a folder or a zip with a sub-folder for each class; its features are computed once and kept in
    ~/.cache/edge-adapt (or DIR), and the few numbers that the last layer learns by are meta-learned from them. Without
    --normalize, what EMBED.onnx wants done to pixels is recognized by what does best on DATA. The bundle is compared with
    EMBED.onnx before it is written.
    """
    require_training("wrap")
    from edge_adapt.bundles.from_extractor import ExtractorSettings, HeadSettings
    from edge_adapt.bundles.from_extractor import wrap as wrap_extractor
    from edge_adapt.bundles.provenance import Provenance
    from edge_adapt.runtime.data.source import DataSource

    wrap_extractor(
        extractor,
        DataSource(images, classes, cache=cache, skip_bad=skip_bad),
        output,
        settings=ExtractorSettings(_normalization(normalize, mean, std), image_size, part or 1.0, output_name, threads),
        head=HeadSettings(initialization, steps, seed),
        provenance=Provenance(name, license),
        report=lambda comparison: words.say(f"  {comparison}"),
        progress=True,
    )
    words.say_saved(output)


def _normalization(normalize: str | None, mean: str | None, std: str | None) -> PixelNormalization | None:
    """What the options say; None if they say nothing."""
    from edge_adapt.export.embed.from_extractor import NORMALIZATIONS, PixelNormalization

    if mean is None and std is None:
        return None if normalize is None else NORMALIZATIONS[normalize]
    if normalize is not None or mean is None or std is None:
        raise click.UsageError("--mean and --std go together, instead of --normalize.")
    return PixelNormalization(_numbers("--mean", mean), _numbers("--std", std))


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise click.UsageError(f"{option} is {text!r}; give one number or three, such as 0.485,0.456,0.406.") from None
