"""Accuracy of bundles for photos on mini-ImageNet and GroceryStore, beside published figures.

    python benchmarks/photos.py MODEL... [--mini-imagenet FOLDER --classes TEST_CLASSES.txt] [--grocery GROCERY.zip] [--record]

Every image is embedded once, and once for each view that a bundle takes of support images, through the bundle and ONNX Runtime as
on a device; the episodes then adapt and predict as `evaluate` does. GroceryStore's support sets come from its train photos and
its queries from its test photos, since photos taken one after the other look alike.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measuring import machine, table
from edge_adapt.export.bundle import add_accuracy
from edge_adapt.runtime.bundle import Accuracy
from edge_adapt.runtime.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.evaluation import Evaluation, embed_dataset, evaluate_episodes
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

EPISODES, WIDE_EPISODES, N_QUERY, SEED = 1000, 100, 15, 0
PUBLISHED = (
    ("UNICORN-MAML, ResNet-12", "65.2", "84.3", "no"),
    ("MAML++, conv4", "52.2", "68.3", "per step"),
    ("Meta-SGD, conv4", "50.5", "64.0", "yes"),
    ("ProtoNet, conv4", "49.4", "68.2", "no"),
    ("MAML, conv4", "48.7", "63.1", "yes"),
    ("ANIL, conv4", "46.7", "61.5", "yes"),
    ("MAML, conv4, non-transductive (TaskNorm)", "42.4", "58.7", "no"),
)
"""Method and backbone, mini-ImageNet 5-way 1-shot and 5-shot in percent, and whether a query's answer came from statistics of the
query batch."""


def over_columns(
    graphs: Graphs,
    data: ImageDataset,
    columns: Sequence[tuple[int, int]],
    support_files: str | None = None,
    query_files: str | None = None,
) -> list[Evaluation]:
    """A bundle's accuracy for each number of ways and shots."""
    features = embed_dataset(graphs, data, graphs.manifest.support_views)
    return [
        evaluate_episodes(
            graphs,
            data,
            n_way=n_way,
            n_shot=n_shot,
            n_query=N_QUERY,
            episodes=EPISODES if n_way <= 20 else WIDE_EPISODES,
            steps=graphs.manifest.default_steps,
            seed=SEED,
            support_files=support_files,
            query_files=query_files,
            features=features,
        )
        for n_way, n_shot in columns
    ]


@dataclass(frozen=True)
class Benchmark:
    """A data set and how its episodes are drawn.

    Attributes:
        name: as tables and manifests call it.
        columns: ways and shots.
    """

    name: str
    path: str
    classes: tuple[str, ...]
    columns: tuple[tuple[int, int], ...]
    support_files: str | None = None
    query_files: str | None = None

    def measure(self, model: str) -> list[Evaluation]:
        """A bundle's accuracy in each column."""
        graphs = load_model(model, provider="cpu").graphs
        data: ImageDataset = load_dataset(self.path, graphs.manifest.preprocessing, self.classes)
        return over_columns(graphs, data, self.columns, self.support_files, self.query_files)

    def report(self, models: Sequence[str], record: bool) -> None:
        """Print the table of this data set."""
        results = {model: self.measure(model) for model in models}
        rows = [[f"**{Path(model).stem}**", *map(_percent, result), "no"] for model, result in results.items()]
        if self.name.startswith("mini-ImageNet"):
            rows += [list(row) for row in PUBLISHED]
        columns = [f"{n_way}-way {n_shot}-shot" for n_way, n_shot in self.columns]
        print(
            f"{self.name}: percent, {EPISODES} episodes (81-way: {WIDE_EPISODES}), up to {N_QUERY} queries a class.\n"
        )
        print(table(["model", *columns, "query batch statistics"], rows), "\n")
        if record:
            for model, result in results.items():
                bundle = load_model(model, provider="cpu").graphs.bundle
                recorded = [entry for entry in bundle.manifest.accuracy if entry.data != self.name]
                recorded += [
                    Accuracy(self.name, r.n_way, r.n_shot, r.n_query, r.episodes, r.accuracy, r.ci95) for r in result
                ]
                add_accuracy(bundle.path, tuple(recorded))
                print(f"Recorded in {bundle.path}.\n")


def _percent(result: Evaluation) -> str:
    return f"{100 * result.accuracy:.2f} ± {100 * result.ci95:.2f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure bundles on mini-ImageNet and GroceryStore.")
    parser.add_argument("models", nargs="+", help="Paths or names of bundles.")
    parser.add_argument("--mini-imagenet", metavar="FOLDER", help="One sub-folder a WordNet id.")
    parser.add_argument("--classes", metavar="FILE", help="The test classes of mini-ImageNet, one a line.")
    parser.add_argument("--grocery", metavar="ZIP", help="One sub-folder a class with train_* and test_* photos.")
    parser.add_argument("--record", action="store_true", help="Write the figures into the bundles.")
    arguments = parser.parse_args()
    print(machine("onnxruntime", "numpy"), "\n")
    if arguments.mini_imagenet:
        classes = (arguments.classes,) if arguments.classes else ()
        Benchmark("mini-ImageNet test", arguments.mini_imagenet, classes, ((5, 1), (5, 5))).report(
            arguments.models, arguments.record
        )
    if arguments.grocery:
        columns = ((5, 1), (5, 5), (81, 5))
        Benchmark("GroceryStore", arguments.grocery, (), columns, "train_*", "test_*").report(
            arguments.models, arguments.record
        )


if __name__ == "__main__":
    main()
