"""The command that meta-trains, which needs the extra [train]."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from edge_adapt.cli import words
from edge_adapt.cli.grouped import GroupedCommand
from edge_adapt.cli.train_options import GROUPS
from edge_adapt.extras import require_training

_ALONG_WITH_RESUME = {"data", "resume", "cache", "device", "threads", "micro_batch", "bf16"}


@click.command(
    cls=GroupedCommand,
    groups=GROUPS,
    epilog=words.examples(
        "edge-adapt train omniglot.zip -o run --classes train.txt --val-classes val.txt --grayscale --rotations",
        "edge-adapt train --resume run",
        "edge-adapt export run -o model.edge",
    ),
)
@click.argument("data", type=click.Path(), required=False)
@click.pass_context
def train(ctx: click.Context, /, **given: Any) -> None:
    """Meta-train a model on the classes in DATA.

    DATA is a folder or a zip; a class is any folder in it that directly holds images. RUN is a folder that holds, afterwards, the
    checkpoint, the settings, metrics.csv and a picture of the training curve. Ctrl-C stops at the end of an outer step, and
    `edge-adapt train --resume RUN` goes on. Several GPUs or machines share a training that starts with:
    torchrun --nproc-per-node N -m edge_adapt train ...
    """
    chosen = {
        name: value for name, value in given.items() if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if chosen.keys() >= {"iterations", "minutes"}:
        raise click.UsageError("--iterations and --minutes exclude each other.")
    for name in ("iterations", "method", "micro_batch", "start_from"):
        if given["recipe"] and name in chosen:
            option = name.replace("_", "-")
            raise click.UsageError(f"--{option} is about one stage, and a recipe has several; leave it out.")
    settled = [param.opts[-1] for param in ctx.command.params if param.name in chosen.keys() - _ALONG_WITH_RESUME]
    if given["resume"] and settled:
        raise click.UsageError(f"--resume goes on with a run as it began; leave out {', '.join(settled)}.")
    require_training("train")
    if given["show"]:
        _show(given["recipe"], chosen, bool(given["teachers"]))
        return
    if not given["resume"] and (given["data"] is None or given["run"] is None):
        raise click.UsageError("DATA and --output are needed to train: what to learn from, and the folder to write.")
    from edge_adapt.cli.train_process import train_in_process

    train_in_process(given, chosen)


def _show(recipe: str | None, chosen: Mapping[str, Any], taught: bool) -> None:
    """Print a recipe, or what each of them is for."""
    from edge_adapt.cli.train_process import settings_in
    from edge_adapt.training.recipes import RECIPES, find_recipe

    if recipe is None:
        click.echo("\n".join(f"{name}: {plan.purpose} {plan.summary}" for name, plan in RECIPES.items()))
        return
    settings = settings_in(chosen)
    minutes = settings.pop("minutes", None)
    plan = find_recipe(recipe).taught() if taught else find_recipe(recipe)
    click.echo(json.dumps(plan.describe(recipe, settings, minutes), indent=2))
