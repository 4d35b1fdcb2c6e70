"""The command that meta-trains, which needs the extra [train]."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edge_adapt.cli import options, words
from edge_adapt.extras import require_training

if TYPE_CHECKING:
    from edge_adapt.training.compute import Device

_count = click.IntRange(min=1)


class _BackboneName(click.Choice):  # type: ignore[type-arg]  # of one argument since click 8.2
    """One of our own, or `timm:` and a name that timm looks up."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if str(value).startswith("timm:") else super().convert(value, param, ctx)


class _CropSize(click.ParamType):  # type: ignore[type-arg]  # generic in newer click
    """A size in pixels, or two that crops grow between: the first, or None, and the last."""

    name = "pixels"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | None, int]:
        sizes = [int(size) if size.isdecimal() else 0 for size in str(value).split(":")]
        if len(sizes) > 2 or not all(sizes):
            self.fail(f"{value!r} is no size; give one such as 64, or two to grow between such as 64:96.", param, ctx)
        return sizes[-2] if len(sizes) == 2 else None, sizes[-1]


def _into_two_settings(ctx: click.Context, param: click.Parameter, sizes: tuple[int | None, int] | None) -> int | None:
    """Set `first_crop_size` beside `crop_size`, as `TrainingConfig` holds them."""
    source = ctx.get_parameter_source("crop_size")
    assert source is not None  # click notes it before
    ctx.set_parameter_source("first_crop_size", source)
    ctx.params["first_crop_size"], last = sizes or (None, None)
    return last


@click.command(
    epilog=words.examples(
        "edge-adapt train omniglot.zip -o run --classes train.txt --val-classes val.txt --grayscale --rotations",
        "edge-adapt export run -o model.edge",
    ),
)
@click.argument("data", type=click.Path(), required=False)
@click.option("-o", "--output", "run", type=click.Path(), metavar="RUN", help="The folder to write.")
@click.option(
    "--recipe",
    metavar="NAME",
    help="Train in stages by a plan: photos, edge or conv4. Other options given apply to every stage.",
)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    type=click.Path(),
    metavar="RUN|FILE",
    help="A run of pretrain on the same classes, whose answers pretrain distils, or the first stage of a recipe. For distil a "
    "bundle or an ONNX feature extractor, whose features it learns; may then be repeated.",
)
@click.option(
    "--teacher-crops",
    type=_count,
    show_default="4",
    metavar="K",
    help="How many crops of each image the teachers of distil see: all of it, all of it mirrored, and then parts. Their "
    "features are computed once, and kept.",
)
@click.option(
    "--teacher-share",
    type=click.FloatRange(0, 1, min_open=True),
    show_default="0.9",
    metavar="SHARE",
    help="Of the loss of distil, how much is about the teachers' features and not about classes.",
)
@click.option(
    "--teacher-normalize",
    multiple=True,
    type=click.Choice(["imagenet", "unit", "symmetric", "none"]),
    show_default="imagenet",
    help="What an ONNX file of --teacher that takes floats wants, as of wrap. Once for all teachers, or once for each.",
)
@click.option(
    "--teacher-image-size",
    multiple=True,
    type=click.IntRange(8, 2048),
    metavar="PIXELS",
    show_default="as the file says",
    help="Height and width of the images, where an ONNX file of --teacher leaves them open. Once for all, or for each.",
)
@click.option(
    "--teacher-output-name",
    multiple=True,
    metavar="TENSOR",
    show_default="the only output",
    help="The tensor with the features of an ONNX file of --teacher. Once for all teachers, or once for each.",
)
@click.option(
    "--start-from",
    multiple=True,
    type=click.Path(),
    metavar="RUN",
    help="Begin with the weights of this run, and with its backbone, image size, part, colours, centring and augmentation "
    "unless told otherwise. Of several runs, the best first, the backbones stand side by side.",
)
@click.option("--show", is_flag=True, help="Print the recipe with every setting, and train nothing.")
@click.option(
    "--method",
    type=click.Choice(
        [
            "anil",
            "maml",
            "fomaml",
            "meta-sgd",
            "reptile",
            "protonet",
            "matching",
            "siamese",
            "memory",
            "pretrain",
            "distil",
            "head-only",
        ]
    ),
    show_default="anil",
    help="What to meta-train, as docs/methods.md tells them apart. The inner loop of anil adapts the last layer, that of maml, "
    "fomaml (first order), meta-sgd (a rate for every weight) and reptile (no query set) all of them. protonet (the nearest "
    "class mean), matching (cosine attention over the support set) and siamese (a learned distance of two images) take no steps, "
    "nor does memory, which writes the support set into an external memory. "
    "pretrain has none: it trains a classifier of all classes, to start episodes from. distil does so too, and learns to give "
    "the features of --teacher. head-only learns the last layer's scale, rates, momentum and pull on a backbone that it leaves "
    "as it is, that of --start-from or --pretrained.",
)
@click.option(
    "--initialization",
    type=click.Choice(["prototype", "zero"]),
    show_default="prototype",
    help="Where the last layer starts from.",
)
@click.option(
    "--backbone",
    type=_BackboneName(["conv4", "edge", "lite0", "lite0-small", "lite2", "resnet12"]),
    show_default="conv4",
    help="The network below the last layer; or timm:NAME, a network of the timm library.",
)
@click.option(
    "--pretrained",
    is_flag=True,
    help="Begin with published weights: those of lite0, which the extra [lite] brings, or timm's, fetched from the network.",
)
@click.option(
    "--image-size",
    type=click.IntRange(16, 1024),
    show_default="28",
    metavar="PIXELS",
    help="Height and width of the images, pixels.",
)
@options.part
@click.option(
    "--grayscale",
    is_flag=True,
    help="Take the images as grey instead of RGB, and light strokes on a dark ground in negative.",
)
@options.classes("Train on the classes whose path ends with a line of FILE")
@click.option(
    "--val-classes",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Measure on these classes along the way; may be repeated.",
)
@options.rotations
@options.reads_a_data_set
@click.option(
    "--augment/--no-augment",
    show_default="no-augment",
    help="Change the training images a little: crops, mirrors and colours of photos; turns, slants and shifts of grey images.",
)
@click.option(
    "--centred/--not-centred",
    show_default="not-centred; head-only centred",
    help="Take their mean from the features and bring them to length 1.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=2),
    show_default="128",
    metavar="B",
    help="Images in a step of pretrain and distil.",
)
@click.option(
    "--crop-size",
    type=_CropSize(),
    callback=_into_two_settings,
    metavar="PIXELS",
    show_default="the image size",
    help="Height and width of the crops that --augment makes of photos; 64:96 lets them grow from the one to the other.",
)
@options.way(None, "20, or as many as there are", "Classes in a training episode.")
@options.shot
@click.option(
    "--query",
    "n_query",
    type=_count,
    metavar="Q",
    show_default="5, or what the smallest class leaves",
    help="Query images of a class.",
)
@options.steps(None, "5; 20 with head-only; none without an inner loop", "Gradient steps of the inner loop.")
@click.option(
    "--first-order", is_flag=True, default=None, help="Take the inner gradients of maml or meta-sgd as constants."
)
@click.option(
    "--per-step-rates",
    is_flag=True,
    default=None,
    help="Learn a rate of maml for each tensor and step, as MAML++ does.",
)
@click.option(
    "--multi-step-loss",
    is_flag=True,
    help="Count the loss after every inner step of all layers at first, as MAML++ does.",
)
@click.option(
    "--recompute",
    is_flag=True,
    help="Compute inner steps on all layers again in the backward pass: less memory, more time.",
)
@click.option("--meta-batch", type=_count, show_default="8", metavar="E", help="Episodes in a step of the outer loop.")
@click.option(
    "--micro-batch",
    type=_count,
    metavar="N",
    show_default="the fastest, measured first; with CUDA, all",
    help="Episodes (with pretrain and distil: images) that are computed together. Not with --recipe.",
)
@click.option(
    "--bf16/--no-bf16",
    default=None,
    show_default="what is faster, measured first; with CUDA, where the GPU has it",
    help="Run the backbone in bfloat16 where that keeps its accuracy, or all in float32.",
)
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    show_default="0.002; head-only 0.1",
    metavar="RATE",
    help="Of the outer loop, at its peak.",
)
@click.option("--iterations", type=_count, metavar="N", help="Outer steps to take, instead of --minutes.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="M",
    show_default="30 without --iterations; head-only 200 iterations",
    help="Minutes to train for.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto takes CUDA where it comes up.",
)
@options.threads
@options.seed("Of the initialization and the episodes.")
@click.option(
    "--patience",
    type=_count,
    metavar="N",
    show_default="never",
    help="Stop when N validations in a row were no better than the best; a whole run has 20. Needs --val-classes.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in RUN, with its settings, from its last checkpoint; needs the same --val-classes, --teacher. Where "
    "there is none, begin it.",
)
@click.pass_context
def train(
    ctx: click.Context,
    /,
    data: str | None,
    run: str | None,
    recipe: str | None,
    teachers: tuple[str, ...],
    teacher_normalize: tuple[str, ...],
    teacher_image_size: tuple[int, ...],
    teacher_output_name: tuple[str, ...],
    start_from: tuple[str, ...],
    show: bool,
    classes: tuple[str, ...],
    val_classes: tuple[str, ...],
    cache: str | None,
    skip_bad: bool,
    device: Device,
    threads: int | None,
    micro_batch: int | None,
    bf16: bool | None,
    resume: bool,
    **settings: Any,
) -> None:
    """Meta-train a model on the classes in DATA.

    DATA is a folder or a zip; a class is any folder in it that directly holds images. RUN is a folder that holds, afterwards, the
    checkpoint, the settings, metrics.csv and a picture of the training curve. A run that was stopped goes on with --resume.
    Several GPUs or machines share a training that starts with: torchrun --nproc-per-node N -m edge_adapt train ...
    """
    if settings["iterations"] and settings["minutes"]:
        raise click.UsageError("--iterations and --minutes exclude each other.")
    for name in ("iterations", "method"):
        if recipe and settings[name]:
            raise click.UsageError(f"--{name} is about one stage, and a recipe has several; leave it out.")
    require_training("train")
    chosen = {
        name: settings[name] for name in settings if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if show:
        _show(recipe, chosen, bool(teachers))
        return
    if data is None or run is None:
        raise click.UsageError("DATA and --output are needed to train: what to learn from, and the folder to write.")
    from edge_adapt.cli.teachers import GivenTeachers
    from edge_adapt.cli.train_process import GivenData, GivenStart, train_in_process
    from edge_adapt.training import distributed
    from edge_adapt.training.compute import Compute

    taught_by = GivenTeachers(teachers, teacher_normalize, teacher_image_size, teacher_output_name)
    with distributed.joined(), distributed.in_one_voice():
        train_in_process(
            GivenData(data, classes, val_classes, cache, skip_bad),
            run,
            chosen,
            recipe,
            GivenStart(start_from, taught_by, resume),
            Compute(device, micro_batch, bf16),
            threads,
        )


def _show(recipe: str | None, chosen: Mapping[str, Any], taught: bool) -> None:
    """Print a recipe, or the names of all of them."""
    from edge_adapt.training.recipes import RECIPES, find_recipe

    if recipe is None:
        click.echo("\n".join(f"{name}: {plan.summary}" for name, plan in RECIPES.items()))
        return
    overrides = {name: value for name, value in chosen.items() if name != "minutes"}
    plan = find_recipe(recipe).taught() if taught else find_recipe(recipe)
    click.echo(json.dumps(plan.describe(recipe, overrides, chosen.get("minutes")), indent=2))
