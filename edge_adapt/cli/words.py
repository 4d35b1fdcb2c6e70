"""How commands say things."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_adapt.runtime.words import milliseconds, plural, shown, size

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.classifier import Classifier
    from edge_adapt.runtime.folder_evaluation import ClassifierEvaluation
    from edge_adapt.training.checkpoint import Checkpoint

__all__ = [
    "accuracy",
    "classifier_accuracy",
    "examples",
    "expectation",
    "exported_step",
    "filled",
    "loss_line",
    "milliseconds",
    "most_helpful",
    "plural",
    "print_json",
    "say",
    "say_saved",
    "shown",
    "size",
]


def examples(*lines: str) -> str:
    """An epilog of commands to type, which click leaves as they are."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def say(*fields: str) -> None:
    """Print a line for people, or its fields with tabs between; names in it may be a stranger's."""
    click.echo("\t".join(map(shown, fields)))


def print_json(value: object) -> None:
    """One object on one line, in ASCII: every terminal and pipe takes it."""
    click.echo(json.dumps(value))


def filled(items: Iterable[str]) -> str:
    """Items separated by commas, on lines that do not break within an item where they can help it."""
    lines = [""]
    for item in map(shown, items):
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


def expectation(classifier: Classifier) -> str:
    """What the leave-one-out estimate says."""
    estimate = classifier.estimate
    if estimate is None:
        return "No class has two images, so there is no estimate of the accuracy; a second image of each gives one."
    low, high = estimate.interval
    said = (
        f"Expect about {estimate.accuracy:.0%} ({low:.0%} to {high:.0%}): {estimate.right} of "
        f"{plural(estimate.left_out, 'image')} right when left out of the adaptation."
    )
    more = estimate.with_twice
    if more is not None and f"{more:.0%}" != f"{estimate.accuracy:.0%}":
        said += f" Twice the photos would make it about {more:.0%}."
    alone = ", ".join(estimate.uncovered[:5]) + (", ..." if len(estimate.uncovered) > 5 else "")
    return f"{said} This says nothing of {alone}, of which there is a single photo." if alone else said


def most_helpful(classifier: Classifier) -> str:
    """Which photos would help most; empty where every class has enough."""
    from edge_adapt.runtime.classifier.estimate import advice

    counts = classifier.counts
    few = "; ".join(f"{label}: {plural(counts[label], 'photo')}, add {more}" for label, more in advice(counts).items())
    return f"What would help most: {few}." if few else ""


def exported_step(checkpoint: Checkpoint) -> str:
    """Which state of a run exports, and how good it is on validation classes."""
    exported = checkpoint.exported
    which = "the best" if checkpoint.best else "the last"
    accuracy = "" if exported.validation is None else f": {exported.validation:.2%} on validation classes"
    described = f" ({checkpoint.validated_on})" if accuracy and checkpoint.validated_on else ""
    return f"outer step {exported.iteration:,} of {checkpoint.iteration:,}, {which}{accuracy}{described}"


def accuracy(entry: dict[str, Any]) -> str:
    episodes = f"{entry['n_way']}-way {entry['n_shot']}-shot"
    return f"{entry['accuracy']:.2%} +- {entry['ci95']:.2%} {episodes} on {entry['data']}"


def classifier_accuracy(result: ClassifierEvaluation) -> str:
    """How good a classifier is on labelled images."""
    low, high = result.interval
    right = sum(entry.right for entry in result.classes)
    return (
        f"{result.accuracy:.2%}: {right} of {plural(result.images, 'image')} right "
        f"(95% confidence {low:.1%} to {high:.1%})"
    )


def say_saved(bundle: str) -> None:
    """Say that a bundle is there, and what to do with it."""
    say(f"Saved {bundle} ({size(Path(bundle).stat().st_size)}).")
    say(f"Next: edge-adapt evaluate {bundle} DATA")
    say(f"      edge-adapt adapt PHOTOS -o MINE.edge --model {bundle}")
