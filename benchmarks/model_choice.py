"""How often `adapt` without --model takes the better of the models that it chooses between.

    python benchmarks/model_choice.py --dev FOLDER --omniglot OMNIGLOT.zip --grocery GROCERY.zip [--fonts FONTS]

Random adaptations, 2 to 10 ways with 1 to 5 shots each, on the samples, the development sets of photos (every zip in the folder),
Omniglot, GroceryStore and, with --fonts, the characters of strokes.py; the samples, Omniglot and GroceryStore also in negative.
Half of a class's images, or its train_* files, are support images, and the other half, or its test_* files, queries. The better
model is that with the higher query accuracy, either of two that are equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import strokes
from benchmarks.measuring import machine, table
from edge_adapt import samples
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.images.folders import ImageFile, open_folder
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import preprocess
from edge_adapt.runtime.images.views import shot_features
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.model_choice import candidates, overruled, suggest_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_CLASSES, MOST_IMAGES = 25, 15  # images for the support set of a class, and as many for its queries
MOST_SHOTS, MOST_WAYS = 5, 10
NEAR = 0.02
SEED = 0


@dataclass(frozen=True)
class LabelledClass:
    """Support and query images of a class, and their features by each model, float32 [images, D]."""

    support: list[Image.Image]
    shots: dict[str, NDArray[np.float32]]
    queries: dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """An adaptation.

    Attributes:
        accuracies: of each model, on the queries.
        taken: the model that each rule takes, by rule.
    """

    accuracies: Mapping[str, float]
    taken: Mapping[str, str]

    def lost(self, rule: str) -> float:
        """How much less accurate the model that a rule takes is than the best."""
        return max(self.accuracies.values()) - self.accuracies[self.taken[rule]]


RULES = ("looks alone", "leave-one-out alone", "adapt")
"""What images look like; the higher leave-one-out accuracy, looks where both are equal; and what `adapt` does."""


def embedded(models: Mapping[str, Graphs], support: list[Image.Image], queries: list[Image.Image]) -> LabelledClass:
    """A class with its features by each model, those of support images in all views."""
    of_shots, of_queries = {}, {}
    for name, graphs in models.items():
        preprocessing, views = graphs.manifest.preprocessing, graphs.manifest.support_views
        pixels = np.stack([preprocess(image, preprocessing) for image in support])
        of_shots[name] = shot_features(graphs.embed, pixels, views)
        of_queries[name] = graphs.embed(np.stack([preprocess(image, preprocessing) for image in queries]))
    return LabelledClass(support, of_shots, of_queries)


def adapted(models: Mapping[str, Graphs], classes: Sequence[LabelledClass], random: np.random.Generator) -> Outcome:
    """One random adaptation to some of the classes."""
    n_way = int(random.integers(2, min(MOST_WAYS, len(classes)) + 1))
    chosen = [classes[index] for index in random.choice(len(classes), n_way, replace=False)]
    shots = [random.permutation(len(of.support))[: random.integers(1, MOST_SHOTS + 1)] for of in chosen]
    labels = np.repeat(np.arange(n_way), [len(of_class) for of_class in shots])
    suggested = suggest_model([of.support[index] for of, taken in zip(chosen, shots, strict=True) for index in taken])
    accuracies, evidence = {}, {}
    for name, graphs in models.items():
        features = np.concatenate([of.shots[name][taken] for of, taken in zip(chosen, shots, strict=True)])
        queries = np.concatenate([of.queries[name] for of in chosen])
        expected = np.repeat(np.arange(n_way), [len(of.queries[name]) for of in chosen])
        steps = graphs.manifest.default_steps
        state, _ = graphs.adapt(features, labels, n_way, steps)
        accuracies[name] = float((graphs.predict(queries, state).argmax(axis=1) == expected).mean())
        evidence[name] = leave_one_out(graphs, features, labels, n_way, steps)
    right = {name: int(found.right.sum()) for name, found in evidence.items()}
    best = suggested if right[suggested] == max(right.values()) else max(right, key=lambda name: right[name])
    choice = overruled(suggested, {name: found.log_probabilities for name, found in evidence.items()})
    return Outcome(accuracies, dict(zip(RULES, (suggested, best, choice), strict=True)))


def from_folders(
    models: Mapping[str, Graphs], support: str | Path, queries: str | Path | None = None, negative: bool = False
) -> list[LabelledClass]:
    """Some classes of a folder or zip, of which one half or another folder holds the queries."""
    random = np.random.default_rng(SEED)
    of_support, of_queries = open_folder(support).classes, open_folder(queries).classes if queries else {}
    found = []
    for label in random.permutation(sorted(of_support))[:MOST_CLASSES].tolist():
        if queries:
            halves = list(of_support[label]), list(of_queries[label])
        else:
            halves = halved([of_support[label][index] for index in random.permutation(len(of_support[label]))])
        if min(map(len, halves)) >= MOST_SHOTS:
            found.append(
                embedded(models, *([opened(file, negative) for file in half[:MOST_IMAGES]] for half in halves))
            )
    return found


def halved(files: list[ImageFile]) -> tuple[list[ImageFile], list[ImageFile]]:
    """Train and test files where there are both, and otherwise one half and the other."""
    train, test = (
        [file for file in files if file.name.rpartition("/")[2].startswith(start)] for start in ("train_", "test_")
    )
    middle = min(len(files) // 2, MOST_IMAGES)
    return (train, test) if train and test else (files[:middle], files[middle:])


def opened(file: ImageFile, negative: bool) -> Image.Image:
    """An image, as it is or in negative."""
    image = load_image(file.read(), file.name).image
    if not negative:
        return image
    return ImageOps.invert(image if image.mode == "L" else image.convert("RGB"))


def from_fonts(models: Mapping[str, Graphs], fonts: str, style: strokes.Style) -> list[LabelledClass]:
    """Some characters of strokes.py."""
    faces = strokes.faces(fonts)
    enough = [character for character in faces if len(faces[character]) >= 2 * MOST_SHOTS]
    chosen = np.random.default_rng(SEED).permutation(enough)[:MOST_CLASSES].tolist()
    drawn = strokes.pictures({character: faces[character] for character in chosen}, style)
    middles = {character: min(len(images) // 2, MOST_IMAGES) for character, images in drawn.items()}
    return [
        embedded(models, images[: middles[character]], images[middles[character] :][:MOST_IMAGES])
        for character, images in drawn.items()
    ]


def sources(
    models: Mapping[str, Graphs], arguments: argparse.Namespace
) -> Iterator[tuple[str, Callable[[], list[LabelledClass]]]]:
    """Name and classes of all that is measured on."""
    both = [("", False), (" in negative", True)]
    for name in ("characters", "photos"):
        folder = Path(samples.__file__).parent / name
        for words, negative in both:
            yield (
                f"samples/{name}{words}",
                lambda folder=folder, negative=negative: from_folders(  # type: ignore[misc]
                    models, folder / "support", folder / "query", negative
                ),
            )
    for path in sorted(Path(arguments.dev).glob("*.zip")) if arguments.dev else ():
        yield path.stem, lambda path=path: from_folders(models, path)  # type: ignore[misc]
    for name, data in (("Omniglot", arguments.omniglot), ("GroceryStore", arguments.grocery)):
        for words, negative in both if data else ():
            yield f"{name}{words}", lambda data=data, negative=negative: from_folders(models, data, None, negative)  # type: ignore[misc]
    for style in strokes.STYLES if arguments.fonts else ():
        yield f"fonts, {style.name}", lambda style=style: from_fonts(models, arguments.fonts, style)  # type: ignore[misc]


def summary(outcomes: Sequence[Outcome], rule: str) -> list[str]:
    """How often a rule takes the better model, how often one within `NEAR` of it, and what it loses on average; percent."""
    lost = np.array([outcome.lost(rule) for outcome in outcomes])
    return [f"{100 * (lost == 0).mean():.1f}", f"{100 * (lost <= NEAR + 1e-9).mean():.1f}", f"{100 * lost.mean():.2f}"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure how often adapt takes the better bundled model.")
    parser.add_argument("--dev", metavar="FOLDER", help="A folder of zips with one sub-folder a class.")
    parser.add_argument("--omniglot", metavar="ZIP")
    parser.add_argument("--grocery", metavar="ZIP")
    parser.add_argument("--fonts", metavar="FOLDER", help="A folder with .ttf and .otf files.")
    parser.add_argument("--adaptations", type=int, default=40, help="Of each data set.")
    arguments = parser.parse_args()
    print(machine("onnxruntime", "numpy", "pillow"), "\n")
    models = {name: load_model(name, "cpu", threads=1).graphs for name in candidates()}
    rows: list[list[str]] = []
    groups: dict[str, list[Outcome]] = {"data sets": [], "fonts": []}
    for source, classes_of in sources(models, arguments):
        classes, random = classes_of(), np.random.default_rng(SEED)
        outcomes = [adapted(models, classes, random) for _ in range(arguments.adaptations)]
        groups["fonts" if source.startswith("fonts") else "data sets"] += outcomes
        means = [f"{100 * np.mean([outcome.accuracies[name] for outcome in outcomes]):.1f}" for name in models]
        rows.append([source, *means, *(cell for rule in RULES for cell in summary(outcomes, rule)[::2])])
        print(source, file=sys.stderr)
    header = [cell for rule in RULES for cell in (f"{rule}: the better", "lost")]
    print(f"Percent, {arguments.adaptations} adaptations of each.\n")
    print(table(["data", *models, *header], rows), "\n")
    header = ["rule", "adaptations", "the better", f"within {100 * NEAR:g} points of it", "points lost"]
    print(
        table(
            header,
            [
                [f"{rule}, {group}", len(outcomes), *summary(outcomes, rule)]
                for group, outcomes in groups.items()
                for rule in RULES
                if outcomes
            ],
        )
    )


if __name__ == "__main__":
    main()
