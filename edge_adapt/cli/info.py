"""The command `info`."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import Any

import click

from edge_adapt.cli import options, words


@click.command(epilog=words.examples("edge-adapt info characters", "edge-adapt info mine.edge --json"))
@click.argument("file", type=click.Path())
@options.as_json
def info(file: str, as_json: bool) -> None:
    """Say what a bundle is, and check it.

    FILE is an `.edge` file or the name of a bundled model. Every entry is checked against its SHA-256, and the graphs must give
    here, on this machine's CPU, the numbers that they gave when they were exported. They run in a child process with limits,
    which on Linux can compute and do nothing else: a file from anywhere may be looked at.
    """
    from edge_adapt.runtime.info import info as facts_of

    facts = facts_of(file)
    if as_json:
        words.print_json(facts)
    else:
        _print_facts(facts)


def _print_facts(facts: dict[str, Any]) -> None:
    from edge_adapt.runtime.classifier.limits import MAX_WAYS
    from edge_adapt.runtime.images.views import View, described

    pixels = facts["preprocessing"]
    lines = {
        facts["kind"]: words.shown(facts["file"]),
        "name": facts["name"],
        "method": f"{facts['method']}, {facts['task']}, {words.plural(facts['default_steps'], 'step')} by default",
        "images": f"{pixels['height']} x {pixels['width']}, {'grey' if pixels['channels'] == 1 else 'RGB'}, "
        f"{pixels['crop']} crop{'' if pixels['part'] == 1 else ' of ' + format(pixels['part'], '.1%')}, "
        f"{pixels['resize']} resize{'' if pixels['ground'] == 'any' else ', dark grounds turned over'}",
        "support": described(View(**view) for view in facts["support_views"]),
        "features": facts["feature_size"],
        "precision": facts["precision"],
        "limits": f"{facts['max_ways'] or MAX_WAYS} classes, {facts['max_support'] or 'any number of'} support images",
        "trained on": facts["trained_on"] or "not said",
        "accuracy": "\n".join(map(words.accuracy, facts["accuracy"])) or "not said",
        "licence": facts["license"] or "not said",
        "size": "\n".join(
            [
                words.size(facts["size"]),
                *(f"{words.size(size):>8} {name}" for name, size in facts["entries"].items()),
            ]
        ),
    }
    if facts["classifier"]:
        adapted = facts["classifier"]
        counts = Counter(shot["label"] for shot in adapted["shots"])
        images = words.plural(len(adapted["shots"]), "image")
        lines["classes"] = words.filled(f"{label} {counts[index]}" for index, label in enumerate(adapted["labels"]))
        lines["adapted"] = f"{images}, {words.plural(adapted['steps'], 'step')}"
        if adapted["leave_one_out"] is not None:
            lines["adapted"] += f", {adapted['leave_one_out']:.0%} right when left out"
    elif adapted := facts.get("regressor"):
        pairs = zip(adapted["values"], adapted["errors"]["mean"], strict=True)
        lines["values"] = words.filled(f"{name} within {error:.3g} when left out" for name, error in pairs)
        lines["adapted"] = f"{words.plural(len(adapted['shots']), 'photo')}, {words.plural(adapted['steps'], 'step')}"
    errors = facts["self_check"]
    lines["self-check"] = (
        f"passed: largest relative error {max(errors.values()):.1e}"
        if errors
        else "not possible: the bundle has no golden vectors for it"
    )
    for key, value in lines.items():
        for line in textwrap.indent(str(value), " " * 15).replace(" " * 15, f"{key:<15}", 1).split("\n"):
            words.say(line)
