"""How many wrong labels `check` finds in support sets, and how many of those that it names are wrong.

    python benchmarks/check.py [--dev FOLDER] [--grocery GROCERY.zip] [--omniglot OMNIGLOT.zip --classes TEST.txt]
        [--way 5] [--shot 10] [--episodes 50]

Of each support set one label in ten is another class's, drawn at random. Beside `check` stand its first pass alone, in which
wrong labels still teach, and the plain rule that a shot is wrong where leave-one-out says another class. Drawings are seen with
`characters`, photos with `photos`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import machine, table
from benchmarks.photo_sets import add_sources, sources
from edge_adapt.runtime.classifier.check import left_out_again, suspects
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.evaluation import embed_dataset
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

RULES = ("check", "its first pass", "another class more probable")
WRONG = 0.1
SEED = 0


def spoilt(labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """The labels, with one in ten another class's."""
    found: NDArray[np.int64] = labels.copy()
    n_way = int(labels.max()) + 1
    for index in random.choice(len(labels), round(WRONG * len(labels)), replace=False):
        found[index] = (labels[index] + random.integers(1, n_way)) % n_way
    return found


def named(graphs: Graphs, features: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    """The shots that each rule calls wrong, bool [M]."""
    n_way, steps = int(labels.max()) + 1, graphs.manifest.default_steps
    first = leave_one_out(graphs, features, labels, n_way, steps, most=len(labels))
    second = left_out_again(graphs, features, labels, n_way, steps, first)
    found = {}
    for name, folds, marked in (
        ("check", second.folds, suspects(second.logits, second.labels)),
        ("its first pass", first.folds, suspects(first.logits, first.labels)),
        ("another class more probable", first.folds, ~first.right),
    ):
        found[name] = np.zeros(len(labels), bool)
        found[name][folds[marked]] = True
    return found


def measure(
    graphs: Graphs, data: ImageDataset, shots: NDArray[np.float32], arguments: argparse.Namespace
) -> Mapping[str, tuple[float, float]]:
    """Share of the wrong labels that are named, and share of those named that are wrong, over all episodes."""
    random = np.random.default_rng(SEED)
    enough = np.flatnonzero(data.counts >= arguments.shot)
    right, all_named, all_wrong = dict.fromkeys(RULES, 0), dict.fromkeys(RULES, 0), 0
    for _ in range(arguments.episodes):
        chosen = random.choice(enough, arguments.way, replace=False)
        rows = [data.starts[of] + random.permutation(data.counts[of])[: arguments.shot] for of in chosen]
        truth = np.repeat(np.arange(arguments.way), arguments.shot)
        labels = spoilt(truth, random)
        wrong = labels != truth
        all_wrong += int(wrong.sum())
        for rule, marked in named(graphs, shots[np.concatenate(rows)], labels).items():
            right[rule] += int((marked & wrong).sum())
            all_named[rule] += int(marked.sum())
    return {rule: (right[rule] / all_wrong, right[rule] / max(all_named[rule], 1)) for rule in RULES}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how wrong labels are found.")
    add_sources(parser)
    parser.add_argument("--way", type=int, default=5)
    parser.add_argument("--shot", type=int, default=10)
    parser.add_argument("--episodes", type=int, default=50)
    arguments = parser.parse_args()
    print(machine())
    print(
        f"\n{arguments.way}-way {arguments.shot}-shot, {arguments.episodes} support sets, one label in ten wrong. Percent.\n"
    )
    rows = []
    for source, model in sources(arguments):
        graphs = load_model(model, "cpu").graphs
        data = load_dataset(source.path, graphs.manifest.preprocessing, source.classes, progress=True)
        shots = embed_dataset(graphs, data, graphs.manifest.support_views, progress=True).shots
        found = measure(graphs, data, shots, arguments)
        rows.append(
            [source.name, *(f"{100 * recall:.0f} / {100 * precision:.0f}" for recall, precision in found.values())]
        )
    print(table(["wrong found / named wrong", *RULES], rows))


if __name__ == "__main__":
    main()
