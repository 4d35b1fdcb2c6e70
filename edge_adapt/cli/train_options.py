"""The options of `train`, in groups: first those that most trainings need."""

from __future__ import annotations

from typing import Any

import click

from edge_adapt.cli import options as shared
from edge_adapt.cli import teachers
from edge_adapt.cli.grouped import Group, options

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


_METHODS = (
    *("anil", "maml", "fomaml", "meta-sgd", "reptile", "protonet", "matching", "siamese", "memory"),
    *("pretrain", "distil", "head-only"),
)

_RUN = Group(
    "Run",
    options(
        click.option("-o", "--output", "run", type=click.Path(), metavar="RUN", help="The folder to write."),
        click.option(
            "--resume",
            type=click.Path(),
            metavar="RUN",
            help="Go on with the run in this folder, which knows its settings and where its data lie; give DATA where they lie "
            "elsewhere now.",
        ),
        click.option(
            "--recipe",
            metavar="NAME",
            help="Train in stages by a plan: photos (for photos, on a network that knows ImageNet; minutes), edge or conv4 (from "
            "nothing, on ten thousand images or more; hours). Other options given apply to every stage.",
        ),
        click.option(
            "--show",
            is_flag=True,
            help="Print the recipe with every setting, or without --recipe what each is for, and train nothing.",
        ),
    ),
)

_DATA = Group(
    "Data",
    options(
        shared.classes("Train on the classes whose path ends with a line of FILE"),
        click.option(
            "--val-classes",
            multiple=True,
            type=click.Path(),
            metavar="FILE",
            help="Measure on these classes along the way; may be repeated.",
        ),
        click.option(
            "--image-size",
            type=click.IntRange(16, 1024),
            show_default="28",
            metavar="PIXELS",
            help="Height and width of the images, pixels.",
        ),
        click.option(
            "--grayscale",
            is_flag=True,
            help="Take the images as grey instead of RGB, and light strokes on a dark ground in negative.",
        ),
        click.option(
            "--augment/--no-augment",
            show_default="no-augment",
            help="Change the training images: crops, mirrors and colours of photos; turns, slants, shifts and strokes of grey "
            "images.",
        ),
    ),
    options(
        shared.rotations,
        shared.part,
        click.option(
            "--crop-size",
            type=_CropSize(),
            callback=_into_two_settings,
            metavar="PIXELS",
            show_default="the image size",
            help="Height and width of the crops that --augment makes of photos; 64:96 lets them grow from the one to the other.",
        ),
        shared.reads_a_data_set,
    ),
)

_EPISODES = Group(
    "Episodes",
    options(
        shared.way(None, "20, or as many as there are", "Classes in a training episode."),
        shared.shot,
        click.option(
            "--query",
            "n_query",
            type=_count,
            metavar="Q",
            show_default="5, or what the smallest class leaves",
            help="Query images of a class.",
        ),
    ),
)

_METHOD = Group(
    "Method",
    options(
        click.option(
            "--method",
            type=click.Choice(_METHODS),
            show_default="anil",
            help="What to meta-train, as docs/methods.md tells them apart. The inner loop of anil adapts the last layer, "
            "that of maml, fomaml (first order), meta-sgd (a rate for every weight) and reptile (no query set) all of "
            "them. protonet (the nearest class mean), matching (cosine attention over the support set) and siamese (a "
            "learned distance of two images) take no steps, nor does memory, which writes the support set into an "
            "external memory. pretrain has none: it trains a classifier of all classes, to start episodes from. "
            "distil does so too, and learns to give the features of --teacher. head-only learns the last layer's "
            "pull on a backbone that it leaves as it is, that of --start-from or --pretrained.",
        ),
        click.option(
            "--backbone",
            type=_BackboneName(["conv4", "edge", "lite0", "lite0-small", "lite2", "resnet12"]),
            show_default="conv4",
            help="The network below the last layer; or timm:NAME, a network of the timm library.",
        ),
        click.option(
            "--start-from",
            multiple=True,
            type=click.Path(),
            metavar="RUN",
            help="Begin with the weights of this run, and with its backbone, image size, part, colours, centring and "
            "augmentation unless told otherwise. Of several runs, the best first, the backbones stand side by side.",
        ),
        click.option(
            "--pretrained",
            is_flag=True,
            help="Begin with published weights: those of lite0, which the extra [lite] brings, or timm's, fetched from the "
            "network.",
        ),
    ),
    options(
        shared.steps(None, "5; 20 with head-only; none without an inner loop", "Gradient steps of the inner loop."),
        click.option(
            "--initialization",
            type=click.Choice(["prototype", "zero"]),
            show_default="prototype",
            help="Where the last layer starts from.",
        ),
        click.option(
            "--centred/--not-centred",
            show_default="not-centred; head-only centred",
            help="Take their mean from the features and bring them to length 1.",
        ),
        click.option(
            "--first-order",
            is_flag=True,
            default=None,
            help="Take the inner gradients of maml or meta-sgd as constants.",
        ),
        click.option(
            "--per-step-rates",
            is_flag=True,
            default=None,
            help="Learn a rate of maml for each tensor and step, as MAML++ does.",
        ),
        click.option(
            "--multi-step-loss",
            is_flag=True,
            help="Count the loss after every inner step of all layers at first, as MAML++ does.",
        ),
        click.option(
            "--first-order-share",
            type=click.FloatRange(0, 1, max_open=True),
            metavar="SHARE",
            show_default="0",
            help="Take the inner gradients of maml as constants for this first share of the training, as MAML++ does.",
        ),
        click.option(
            "--full-context",
            is_flag=True,
            help="Embed images of matching in the light of the whole support set.",
        ),
        *teachers.OPTIONS,
    ),
)

_OPTIMIZATION = Group(
    "Optimization",
    options(
        click.option(
            "--minutes",
            type=click.FloatRange(min=0, min_open=True),
            metavar="M",
            show_default="30 without --iterations; head-only 200 iterations",
            help="Minutes to train for.",
        ),
        click.option("--iterations", type=_count, metavar="N", help="Outer steps to take, instead of --minutes."),
        click.option(
            "--learning-rate",
            type=click.FloatRange(min=0, min_open=True),
            show_default="0.002; head-only 0.1",
            metavar="RATE",
            help="Of the outer loop, at its peak.",
        ),
    ),
    options(
        click.option(
            "--meta-batch",
            type=_count,
            show_default="8",
            metavar="E",
            help="Episodes in a step of the outer loop.",
        ),
        click.option(
            "--batch-size",
            type=click.IntRange(min=2),
            show_default="128",
            metavar="B",
            help="Images in a step of pretrain and distil.",
        ),
        click.option(
            "--patience",
            type=_count,
            metavar="N",
            show_default="never",
            help="Stop when N validations in a row were no better than the best; a whole run has 20. Needs --val-classes.",
        ),
        shared.seed("Of the initialization and the episodes."),
    ),
)

_SPEED = Group(
    "Speed",
    options(
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where to train; auto takes CUDA where it comes up.",
        ),
        shared.threads,
    ),
    options(
        click.option(
            "--micro-batch",
            type=_count,
            metavar="N",
            show_default="the fastest, measured first; with CUDA, all",
            help="Episodes (with pretrain and distil: images) that are computed together. Not with --recipe.",
        ),
        click.option(
            "--bf16/--no-bf16",
            default=None,
            show_default="what is faster, measured first; with CUDA, where the GPU has it",
            help="Run the backbone in bfloat16 where that keeps its accuracy, or all in float32.",
        ),
        click.option(
            "--recompute",
            is_flag=True,
            help="Compute inner steps on all layers again in the backward pass: less memory, more time.",
        ),
    ),
)

GROUPS = (_RUN, _DATA, _EPISODES, _METHOD, _OPTIMIZATION, _SPEED)
