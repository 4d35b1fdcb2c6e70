"""What commands say of regressors, which read values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from edge_adapt.cli import words
from edge_adapt.cli.csv_answers import print_row
from edge_adapt.runtime.answers import answer_json

if TYPE_CHECKING:
    from edge_adapt.runtime.regressor.regressor import Measurement, Regressor
    from edge_adapt.runtime.value_evaluation import RegressorEvaluation

MOST_MISREAD = 3
"""Photos that the text of an evaluation names, those that are read worst."""


def says_readings(regressor: Regressor, as_json: bool, as_csv: bool) -> Callable[[str, Measurement], None]:
    """What prints the line of an image; of CSV, the header is printed here."""
    if as_csv:
        print_row(["image", *(f"{name}{which}" for name in regressor.names for which in ("", " low", " high"))])

    def say(image: str, reading: Measurement) -> None:
        found = [(name, value, *reading.intervals[name]) for name, value in reading.values.items()]
        if as_json:
            words.print_json(answer_json(image, reading))
        elif as_csv:
            print_row([image, *(number for _, *numbers in found for number in numbers)])
        else:
            fields = ((name, f"{value:.4g}", f"{low:.4g} to {high:.4g}") for name, value, low, high in found)
            words.say(image, *(field for of_value in fields for field in of_value))

    return say


def say_adapted(regressor: Regressor, output: str, as_json: bool) -> None:
    """What was learned, what to expect, and where it was saved."""
    from edge_adapt.runtime.regressor.check import check_readings

    if as_json:
        words.print_json(_described(regressor, output))
        return
    words.say(f"Model: {regressor.manifest.name}")
    words.say(f"{words.plural(len(regressor.support.images), 'photo')}:")
    for name, column in zip(regressor.names, regressor.support.targets.T, strict=True):
        words.say(f"  {name} from {column.min():.4g} to {column.max():.4g}")
    for line in expectations(regressor):
        words.say(line)
    for finding in check_readings(regressor)[:2]:
        words.say(f"Look at this: {finding.text}.")
    words.say(f"Saved {output} ({words.size(Path(output).stat().st_size)}).")
    words.say(f"Next: edge-adapt classify {output} IMAGE_OR_FOLDER")


def expectations(regressor: Regressor) -> list[str]:
    """What leaving photos out says of each value."""
    errors, targets = regressor.errors, regressor.support.targets
    lines = []
    for name, column, mean, bound in zip(regressor.names, targets.T, errors.mean, errors.bound, strict=True):
        share = mean / float(column.max() - column.min())
        lines.append(
            f"Photos that are left out are off by {mean:.3g} {name} on average, {share:.1%} of their range, "
            f"and 9 of 10 by less than {bound:.3g}; new photos by less, as nothing is left out for them."
        )
    return lines


def evaluate(regressor: Regressor, model: str, table: str, skip_bad: bool, as_json: bool) -> None:
    """Read the photos of a CSV, and say how far off that is."""
    from edge_adapt.runtime.value_evaluation import evaluate_regressor

    result = evaluate_regressor(regressor, table, progress=True, skip_bad=skip_bad)
    if not as_json:
        _say_evaluation(result)
        return
    values = {
        value.name: {
            "error": value.mean_error,
            "of_range": value.of_range,
            "within": value.within,
            "worst": [asdict(photo) for photo in value.photos[:MOST_MISREAD]],
        }
        for value in result.values
    }
    words.print_json({"model": model, "images": result.images, "in_support": result.in_support, "values": values})


def _say_evaluation(result: RegressorEvaluation) -> None:
    photos = words.plural(result.images, "photo")
    for value in result.values:
        words.say(
            f"{value.name}: {photos} read, off by {value.mean_error:.3g} on average, {value.of_range:.1%} of the range that "
            f"was taught; {value.within:.0%} within their interval"
        )
        for photo in value.photos[:MOST_MISREAD]:
            words.say(f"  {photo.image} reads {photo.value:.4g} and was taken for {photo.read:.4g}")
    if result.in_support:
        words.say(
            f"{words.plural(result.in_support, 'photo')} of these taught the regressor; "
            "expect less on new ones, and measure on those."
        )


def _described(regressor: Regressor, output: str) -> dict[str, object]:
    errors = regressor.errors
    return {
        "file": output,
        "model": regressor.manifest.name,
        "photos": len(regressor.support.images),
        "steps": regressor.steps,
        "losses": regressor.adaptation.losses,
        "values": {
            name: {"least": float(column.min()), "most": float(column.max()), "error": mean, "bound": bound}
            for name, column, mean, bound in zip(
                regressor.names, regressor.support.targets.T, errors.mean, errors.bound, strict=True
            )
        },
    }
