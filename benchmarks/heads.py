"""The gradient head of a bundle against class means and logistic regression, on the same features of the same episodes.

    python -m pip install scikit-learn==1.9.1
    python benchmarks/heads.py MODEL... --dev FOLDER --grocery GROCERY.zip [--shots 1 5 20] [--ways 5 20 0] [--episodes 200]
    python benchmarks/heads.py MODEL... --diverge N

The features are those of the bundle as they are, with its views of support images; 0 ways are all classes of a set. A set has a
row where enough of its classes have the support images. Of the regressions the one counts whose C is best in the mean over the
sets: it is chosen on the very episodes, which is more than a user could do. With `--diverge` the bundle's `adapt` is given random
support sets that no data set would hold, up to 200 steps each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import machine, table, with_one_thread
from benchmarks.photo_sets import PhotoSet, find
from benchmarks.plain_heads import ClassMeans, LogisticRegression
from benchmarks.steps import Source, with_enough
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import embed_dataset, evaluate_episodes
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

N_QUERY, SEED = 15, 0
ALL_CLASSES_EPISODES = 20
CS = (1, 10, 100)
MANY_STEPS = 50
MOST_STEPS, MOST_WAYS, MOST_SHOTS = 200, 100, 20
RISE = 1e-3
"""By how much the loss may be larger after the steps than before, for rounding."""

Entry = dict[str, float]
"""A percentage for each head by its name."""
Setting = tuple[int, int]
"""Ways, 0 for all classes, and shots."""


def heads(graphs: Graphs) -> dict[str, tuple[EpisodeModel, int]]:
    """What is compared, with its steps, by the name of its column."""
    default = graphs.manifest.default_steps
    regressions = {f"LR, C = {c}": (LogisticRegression(graphs.embed, c), 0) for c in CS}
    return {
        "no steps": (graphs, 0),
        f"{default} steps": (graphs, default),
        f"{MANY_STEPS} steps": (graphs, MANY_STEPS),
        "class means": (ClassMeans(graphs.embed), 0),
        **regressions,
    }


def over_sets(
    graphs: Graphs, sets: Sequence[PhotoSet], shots: Sequence[int], ways: Sequence[int], episodes: int
) -> dict[Setting, dict[str, Entry]]:
    """For ways and shots and the name of a set with so many classes: what each head has right."""
    found: dict[Setting, dict[str, Entry]] = {}
    for data in sets:
        loaded = load_dataset(data.path, graphs.manifest.preprocessing)
        embedded = embed_dataset(graphs, loaded, graphs.manifest.support_views)
        for n_shot in shots:
            source = Source(data.path, support=data.support, query=data.query)
            fitting, features = with_enough(loaded, embedded, source, n_shot)
            for n_way in ways:
                if (n_way or 2) > len(fitting.class_names):
                    continue
                found.setdefault((n_way, n_shot), {})[data.name] = {
                    name: 100
                    * evaluate_episodes(
                        head,
                        fitting,
                        EvaluationProtocol(
                            n_way=n_way or len(fitting.class_names),
                            n_shot=n_shot,
                            n_query=N_QUERY,
                            episodes=episodes if n_way else min(episodes, ALL_CLASSES_EPISODES),
                            steps=steps,
                            seed=SEED,
                            support_files=data.support,
                            query_files=data.query,
                        ),
                        features=features,
                    ).accuracy
                    for name, (head, steps) in heads(graphs).items()
                }
    return found


def summary(entries: Mapping[str, Entry], head: str) -> list[str]:
    """The mean over sets of each column, and the head less the best regression in the mean and less class means at worst."""
    means = {name: float(np.mean([entry[name] for entry in entries.values()])) for name in next(iter(entries.values()))}
    best = max((name for name in means if name.startswith("LR")), key=means.__getitem__)
    less_means = {data: entry[head] - entry["class means"] for data, entry in entries.items()}
    worst = min(less_means, key=less_means.__getitem__)
    shown = [f"{value:.2f}" for value in means.values()]
    return [*shown, f"{means[head] - means[best]:+.2f} ({best})", f"{less_means[worst]:+.2f} ({worst})"]


def report(graphs: Graphs, results: Mapping[Setting, Mapping[str, Entry]]) -> None:
    """Print the table of all sets, and that of their means."""
    columns = list(heads(graphs))
    default = columns[1]
    rows = [
        [data, str(n_way or "all"), str(n_shot), *(f"{value:.2f}" for value in entries[data].values())]
        for data in dict.fromkeys(name for entries in results.values() for name in entries)
        for (n_way, n_shot), entries in results.items()
        if data in entries
    ]
    print(table(["set", "ways", "shots", *columns], rows), "\n")
    means = [
        [str(n_way or "all"), str(n_shot), str(len(entries)), *summary(entries, default)]
        for (n_way, n_shot), entries in results.items()
    ]
    differences = (f"{default} less best LR", f"{default} less class means at worst")
    print(table(["ways", "shots", "sets", *columns, *differences], means), "\n")


@dataclass(frozen=True)
class SupportSet:
    """A support set drawn to make steps diverge.

    Attributes:
        features: float32 [M, D].
        labels: int64 [M].
        steps: how many are taken.
        described: what it is like, for the table.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    n_way: int
    steps: int
    described: str


def hostile_support_sets(feature_size: int, count: int, seed: int = SEED) -> Iterator[SupportSet]:
    """Of 2 to 100 ways with 1 to 20 shots each, at scales of 1e-3 to 1e3 and with common means up to 100 times the spread.

    Each kind of oddity befalls one in four: images that are there twice, in another class too; features that are the same for all
    images; two images far from all others.
    """
    random = np.random.default_rng(seed)
    for _ in range(count):
        n_way, steps = int(random.integers(2, MOST_WAYS + 1)), int(random.integers(1, MOST_STEPS + 1))
        labels = np.repeat(np.arange(n_way), random.integers(1, MOST_SHOTS + 1, n_way))
        apart, common, scale = 10 ** random.uniform(-1, 1), random.uniform(0, 100), 10 ** random.uniform(-3, 3)
        odd = [kind for kind in ("duplicates", "constant features", "outliers") if random.random() < 0.25]
        features = random.normal(size=(len(labels), feature_size))
        features += apart * random.normal(size=(n_way, feature_size))[labels]
        features += common * random.normal(size=feature_size)
        if "duplicates" in odd:
            features = features[random.integers(0, len(labels), len(labels))]
        if "constant features" in odd:
            constant = random.random(feature_size) < random.uniform(0, 1)
            features[:, constant] = features[0, constant]
        if "outliers" in odd:
            features[random.integers(0, len(labels), 2)] *= 10 ** random.uniform(1, 3)
        kinds = ", ".join(odd) or "plain"
        described = f"{n_way} ways, {len(labels)} images, {kinds}, scale {scale:.1e}, mean {common:.0f}"
        yield SupportSet((scale * features).astype(np.float32), labels, n_way, steps, described)


def diverging(model: EpisodeModel, support_sets: Iterator[SupportSet]) -> Iterator[list[str]]:
    """A row for each support set that gives a state or losses that are not finite, or a loss that steps have raised."""
    for drawn in support_sets:
        # The losses are those before each step: that before one step more is the loss at the end.
        state, losses = model.adapt(drawn.features, drawn.labels, drawn.n_way, drawn.steps + 1)
        finite = all(bool(np.isfinite(array).all()) for array in (*state.values(), losses))
        if not finite or losses[-1] > losses[0] + RISE:
            yield [
                drawn.described,
                str(drawn.steps),
                f"{losses[0]:.4g}",
                f"{losses[-1]:.4g}",
                "yes" if finite else "no",
            ]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure a bundle's gradient head beside plain heads on its features.")
    parser.add_argument("models", nargs="+", help="Paths or names of bundles with a gradient head.")
    parser.add_argument("--dev", metavar="FOLDER", help="The zips of the development sets.")
    parser.add_argument("--grocery", metavar="ZIP", help="GroceryStore, a sub-folder a class.")
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5, 20])
    parser.add_argument("--ways", nargs="+", type=int, default=[5, 20, 0], help="0 takes all classes.")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--diverge", metavar="N", type=int, default=0, help="Try so many random support sets.")
    arguments = parser.parse_args()
    with_one_thread()
    sets = find(arguments.dev, arguments.grocery)
    print(machine("onnxruntime", "numpy", "scikit-learn"), "\n")
    for model in arguments.models:
        graphs = load_model(model, provider="cpu", threads=1).graphs
        if sets:
            few = min(arguments.episodes, ALL_CLASSES_EPISODES)
            print(
                f"{model}: percent, {arguments.episodes} episodes (all classes: {few}), up to {N_QUERY} queries a class.\n"
            )
            report(graphs, over_sets(graphs, sets, arguments.shots, arguments.ways, arguments.episodes))
        if arguments.diverge:
            rows = list(diverging(graphs, hostile_support_sets(graphs.manifest.feature_size, arguments.diverge)))
            print(f"{model}: {len(rows)} of {arguments.diverge} random support sets diverge.\n")
            if rows:
                print(table(["support set", "steps", "loss before", "after", "finite"], rows), "\n")


if __name__ == "__main__":
    main()
