"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from edge_adapt.runtime.errors import EdgeAdaptError

Command = TypeVar("Command", bound=Callable[..., Any])


provider = click.option(
    "--provider",
    type=click.Choice(["auto", "cpu", "cuda", "tensorrt", "openvino", "coreml", "xnnpack", "qnn"]),
    default="auto",
    show_default=True,
    help="What runs the backbone; auto takes CUDA where it comes up.",
)


TOKEN_VARIABLE = "EDGE_ADAPT_TOKEN"
_MOST_OF_TOKEN = 1000  # characters

token_file = click.option(
    "--token-file",
    type=click.Path(),
    metavar="FILE",
    show_default=f"none; ${TOKEN_VARIABLE} where it is set",
    help="The file that holds the token which requests bring.",
)


def token(file: str | None) -> str | None:
    """The token that a file or the environment holds, and never the command line, which others see; None where there is none."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(_MOST_OF_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise EdgeAdaptError(f"{file} cannot be read; give a file that holds the token.") from error


task_model = click.option(
    "--model",
    show_default="the bundled one that it was made with",
    metavar="MODEL.edge|NAME",
    help="The model that the task was made with: a file, or a name that `edge-adapt models` lists.",
)

verify = click.option(
    "--verify", type=click.Path(), metavar="PUBLIC.pem", help="Refuse a task that the owner of this key did not sign."
)

untrusted = click.option(
    "--untrusted",
    "trust",
    flag_value="unknown",
    default="known",
    help="The file is a stranger's: run its graphs in a child process with limits, which on Linux can only compute.",
)


def runs_a_bundle(command: Command) -> Command:
    """Give a command the options `--provider`, `--threads` and `--untrusted`."""
    return provider(threads(untrusted(command)))


unknown_share = click.option(
    "--unknown-at",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.05,
    show_default=True,
    metavar="SHARE",
    help="The share of images of the classes that may be taken for unknown, from 0 to below 1.",
)


def unknown_at(command: Command) -> Command:
    """Give a command the options `--unknown-at` and `--never-unknown`."""
    never = click.option("--never-unknown", is_flag=True, help="Take every image for one of the classes.")
    return unknown_share(never(command))


def model_of_photos(help: str) -> Callable[[Command], Command]:
    """`--model`, of a command that finds the bundled one that suits the images."""
    shown = "the bundled one that suits the images"
    return click.option("--model", show_default=shown, metavar="MODEL.edge|NAME", help=help)


MOST_THREADS = 1024

threads = click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", show_default="all cores", help="CPU threads."
)

part = click.option(
    "--part",
    type=click.FloatRange(0.1, 1),
    show_default="1",
    metavar="SHARE",
    help="The central part of the middle square that is seen, 0.1 to 1.",
)

rotations = click.option("--rotations", is_flag=True, help="Make four classes of each by quarter turns.")


skip_bad = click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read.")


def reads_a_data_set(command: Command) -> Command:
    """Give a command the options `--cache` and `--skip-bad`."""
    cache = click.option(
        "--cache",
        type=click.Path(),
        metavar="DIR",
        show_default="in memory; over 1 GiB in ~/.cache/edge-adapt",
        help="Keep the pixels of DATA in a file in DIR, and map them from there; features that train and wrap learn from lie "
        "there too.",
    )
    return cache(skip_bad(command))


def picks_files(command: Command) -> Command:
    """Give a command the options `--support-files` and `--query-files`."""
    support = click.option(
        "--support-files",
        metavar="PATTERN",
        show_default="all",
        help="Draw support images among the files of a class whose name matches, such as 'train_*'.",
    )
    query = click.option(
        "--query-files",
        metavar="PATTERN",
        show_default="all",
        help="Draw queries among the files of a class whose name matches, such as 'test_*'.",
    )
    return support(query(command))


def classes(help: str) -> Callable[[Command], Command]:
    """`--classes`, which each command uses for something else."""
    return click.option(
        "--classes",
        multiple=True,
        type=click.Path(),
        metavar="FILE",
        show_default="all",
        help=f"{help}; may be repeated.",
    )


def way(default: int | None, shown: str | bool, help: str) -> Callable[[Command], Command]:
    """`--way`."""
    least = click.IntRange(min=2)
    return click.option("--way", "n_way", type=least, default=default, show_default=shown, metavar="N", help=help)


shot = click.option(
    "--shot",
    "n_shot",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="K",
    help="Support images of a class.",
)


def steps(default: int | None, shown: str | bool, help: str) -> Callable[[Command], Command]:
    """`--steps`."""
    least = click.IntRange(min=0)
    return click.option("--steps", type=least, default=default, show_default=shown, metavar="S", help=help)


def seed(help: str) -> Callable[[Command], Command]:
    """`--seed`."""
    least = click.IntRange(min=0)
    return click.option("--seed", type=least, default=0, show_default=True, metavar="SEED", help=help)


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def says_whose(command: Command) -> Command:
    """Give a command that writes a bundle the options `--name` and `--license`."""
    name = click.option(
        "--name", default="", metavar="NAME", show_default="as the file", help="What the model is called."
    )
    license = click.option("--license", default="", metavar="SPDX", help="Of the weights, such as Apache-2.0.")
    return name(license(command))


def episodes(default: int, help: str) -> Callable[[Command], Command]:
    """`--episodes`."""
    least = click.IntRange(min=1)
    return click.option("--episodes", type=least, default=default, show_default=True, metavar="E", help=help)


def refuse_episodes(ctx: click.Context, model: str) -> None:
    """Options about episodes would be passed over in silence for what is adapted; say so instead."""
    of_episodes = {"rotations", "cache", "n_way", "n_shot", "n_query", "episodes", "support_files", "query_files"}
    of_episodes |= {"steps", "all_layers", "seed"}
    for parameter in ctx.command.params:
        if parameter.name in of_episodes and ctx.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{parameter.opts[0]} is about episodes, and {Path(model).name} is adapted already.")
