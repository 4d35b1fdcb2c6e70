"""The command `doctor`."""

from __future__ import annotations

import click

from edge_adapt.cli import words


@click.command(epilog=words.examples("edge-adapt doctor", "edge-adapt doctor mine.edge"))
@click.argument("model", type=click.Path(), metavar="[MODEL.edge|NAME]", required=False)
def doctor(model: str | None) -> None:
    """Say whether edge-adapt works on this device, and what to do about each fault.

    Checks Python and the packages, the ONNX Runtime and each provider in it, the golden vectors of MODEL, by default of all
    bundled models, and the labels that these give to the samples. The status is 1 where there is a fault.
    """
    from edge_adapt.runtime.doctor import doctor as diagnose

    diagnosis = diagnose(model)
    width = max(len(check.what) for check in diagnosis.checks)
    for check in diagnosis.checks:
        remedy = f"; {check.remedy}" if check.remedy else ""
        words.say(f"{check.status:<9}{check.what:<{width}}  {check.text}{remedy}")
    faults = len(diagnosis.faults)
    click.echo(f"{words.plural(faults, 'fault')} found." if faults else "No fault found.")
    raise SystemExit(1 if faults else 0)
