"""What several commands share: options, and how numbers read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_adapt.runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    from edge_adapt.training.run import Checkpoint

Command = TypeVar("Command", bound=Callable[..., Any])


def runs_a_bundle(command: Command) -> Command:
    """Give a command the options `--provider` and `--threads`."""
    provider = click.option(
        "--provider",
        type=click.Choice(["auto", "cpu", "cuda"]),
        default="auto",
        show_default=True,
        help="What runs the backbone; auto takes CUDA where it comes up.",
    )
    return provider(threads(command))


TRAINING_PACKAGES = ("torch", "onnx", "onnxscript", "matplotlib")
"""What the extra [train] brings."""

MOST_THREADS = 1024

threads = click.option(
    "--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", show_default="all cores", help="CPU threads."
)

part = click.option(
    "--part",
    type=click.FloatRange(0.1, 1),
    default=1.0,
    show_default="1",
    metavar="SHARE",
    help="The central part of the middle square that is seen, 0.1 to 1.",
)

rotations = click.option("--rotations", is_flag=True, help="Make four classes of each by quarter turns.")


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
    skip_bad = click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read.")
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


def way(default: int, help: str) -> Callable[[Command], Command]:
    """`--way`."""
    least = click.IntRange(min=2)
    return click.option("--way", "n_way", type=least, default=default, show_default=True, metavar="N", help=help)


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


def examples(*lines: str) -> str:
    """An epilog of commands to type, which click leaves as they are."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: object) -> None:
    """One object on one line, in ASCII: every terminal and pipe takes it."""
    click.echo(json.dumps(value))


def size(count: int) -> str:
    """A number of bytes as one reads it."""
    return f"{count / 1e6:.1f} MB" if count >= 999_500 else f"{count / 1e3:.0f} KB" if count >= 1000 else f"{count} B"


def plural(count: int, one: str, many: str = "") -> str:
    """A number and its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def filled(items: Iterable[str]) -> str:
    """Items separated by commas, on lines that do not break within an item where they can help it."""
    lines = [""]
    for item in items:
        if lines[-1] and len(lines[-1]) + len(item) > 78:
            lines.append("")
        lines[-1] += f"{item}, "
    return "\n".join(line.rstrip() for line in lines).rstrip(",")


def loss_line(losses: Sequence[float], most: int = 8) -> str:
    """The support loss before some of the steps, the first and the last among them."""
    if not losses:
        return "none, for there are no steps"
    chosen = sorted({round(index * (len(losses) - 1) / (most - 1)) for index in range(most)})
    return " > ".join(f"{losses[index]:.3g}" for index in chosen)


def expectation(leave_one_out: float | None, folds: int) -> str:
    """What the leave-one-out estimate says, in a sentence."""
    if leave_one_out is None:
        return "No class has two images, so there is no estimate of the accuracy; a second image of each gives one."
    right = round(leave_one_out * folds)
    return (
        f"Expect about {leave_one_out:.0%}: {right} of {plural(folds, 'image')} right when left out of the adaptation."
    )


def exported_step(checkpoint: Checkpoint) -> str:
    """Which state of a run exports, and how good it is on validation classes."""
    exported = checkpoint.exported
    which = "the best" if checkpoint.best else "the last"
    accuracy = "" if exported.validation is None else f": {exported.validation:.2%} on validation classes"
    described = f" ({checkpoint.validated_on})" if accuracy and checkpoint.validated_on else ""
    return f"outer step {exported.iteration:,} of {checkpoint.iteration:,}, {which}{accuracy}{described}"


def require_training(command: str) -> None:
    """Raise `MissingDependencyError` unless the extra [train] is installed, which this command needs."""
    for package in TRAINING_PACKAGES:
        if find_spec(package) is None:
            raise MissingDependencyError(
                f'`edge-adapt {command}` needs {package}, which is not installed; `pip install "edge-adapt[train]"` brings it.'
            )
