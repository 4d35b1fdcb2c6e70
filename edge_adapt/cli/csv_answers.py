"""What `classify --csv` prints."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from edge_adapt.runtime.words import shown

if TYPE_CHECKING:
    from edge_adapt.runtime.classifier.prediction import Prediction


def csv_answers(labels: Sequence[str], top: int | None) -> Callable[[str, Prediction], None]:
    """Print the header, and give what prints the line of an image.

    The label of an unknown image is `unknown`. After image, label and confidence there is a column a class, its probability; or,
    where only the `top` most probable classes are wanted, a pair of columns for each further one of them.
    """
    further = range(2, min(top or 1, len(labels)) + 1)
    scores = [column for place in further for column in (f"label {place}", f"confidence {place}")] if top else labels
    print_row(["image", "label", "confidence", *scores])

    def answer(image: str, prediction: Prediction) -> None:
        ranked = list(prediction.scores.items())[1 : top or 0]
        scores = [value for pair in ranked for value in pair] if top else [prediction.scores[label] for label in labels]
        print_row([image, prediction.label if prediction.known else "unknown", prediction.confidence, *scores])

    return answer


def print_row(row: Sequence[object]) -> None:
    """Print a line of CSV; names in it may be a stranger's."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([shown(cell) if isinstance(cell, str) else cell for cell in row])
    click.echo(line.getvalue(), nl=False)
