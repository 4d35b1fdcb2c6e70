"""The command that sets runs side by side, which needs the extra [train]."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_adapt.cli import words
from edge_adapt.extras import require_training

if TYPE_CHECKING:
    from edge_adapt.reports.runs import Axis


@click.command(
    epilog=words.examples(
        "edge-adapt compare run_anil run_maml -o compare.png",
        "edge-adapt compare run --json",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=click.Path(), metavar="RUN...")
@click.option(
    "-o", "--output", type=click.Path(), metavar="COMPARE.png", help="Draw the validation curves into this picture."
)
@click.option(
    "--against",
    type=click.Choice(["steps", "minutes"]),
    default="steps",
    show_default=True,
    help="What the curves are drawn over: outer steps, or minutes of training.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; accuracies are fractions, not percent.")
def compare(runs: tuple[str, ...], output: str | None, against: Axis, as_json: bool) -> None:
    """Print what several training runs have spent and reached, side by side.

    RUN is a folder that `edge-adapt train` wrote, or still writes; of one that has stages, each stage is a line. The validation
    accuracy is that of what the run exports, and beside it stands the outer step that this is of.
    """
    if output and not output.lower().endswith(".png"):
        raise click.UsageError("--output takes a name that ends in .png: the picture is a PNG.")
    require_training("compare")
    from edge_adapt.reports.runs import compare as compare_runs
    from edge_adapt.reports.runs import picture, table
    from edge_adapt.runtime.files import write_atomically

    compared = compare_runs(runs)
    if output:
        image = picture(compared, against)
        write_atomically(output, lambda stream: stream.write(image))
    if as_json:
        words.print_json({"runs": [run.describe() for run in compared]})
        return
    click.echo(table(compared))
    without = sum(not run.curve for run in compared)
    if output:
        left_out = f" (without {words.plural(without, 'run')} that has no validation)" if without == 1 else ""
        left_out = f" (without {without:,} runs that have no validation)" if without > 1 else left_out
        click.echo(f"Curves: {output}{left_out}")
