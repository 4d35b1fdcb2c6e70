"""Several training runs side by side: their budgets, and their accuracy through the bundle and in all layers.

    python benchmarks/methods.py omniglot OMNIGLOT.zip TEST_CLASSES.txt RUN...
    python benchmarks/methods.py mini-imagenet FOLDER TEST_CLASSES.txt RUN...

Each run is exported first, and measured with ONNX Runtime as on a device. A method whose inner loop adapts all layers has a row
more: the same episodes, adapted in all layers in PyTorch. No query's answer comes from statistics of the query batch.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import accuracy, photos
from benchmarks.measuring import machine, table
from edge_adapt import export_bundle
from edge_adapt.evaluation import evaluate
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import Evaluation, embed_dataset
from edge_adapt.runtime.model import load_model
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint, stages_of

EPISODES = 1000
ALL_LAYERS_EPISODES = {False: 600, True: 100}
"""Of 5 ways, and of more: at 20-way 5-shot one takes a second."""


@dataclass(frozen=True)
class Suite:
    """What is measured on a data set.

    Attributes:
        columns: ways and shots.
        published: rows of a method, its figures in percent, and whether its queries share batch statistics.
    """

    columns: tuple[tuple[int, int], ...]
    published: tuple[tuple[str, ...], ...]


SUITES = {
    "omniglot": Suite(
        accuracy.COLUMNS,
        tuple(
            (name, *figures, f"{batch}{split and f', split {split}'}")
            for name, figures, split, batch in accuracy.PUBLISHED
        ),
    ),
    "mini-imagenet": Suite(((5, 1), (5, 5)), photos.PUBLISHED),
}


def budget(run: str) -> str:
    """What a run's training took, all stages of it."""
    stages = [load_checkpoint(stage) for stage in stages_of(run)]
    minutes = sum(stage.seconds for stage in stages) / 60
    return f"{minutes:.0f} min, {', then '.join(map(steps, stages))}"


def steps(checkpoint: Checkpoint) -> str:
    """The outer steps of a stage: each is so many episodes of so many images, or so many images."""
    config = checkpoint.config
    units = f"{config.meta_batch} x {config.n_way} x ({config.n_shot} + {config.n_query})"
    if config.method.of_images:
        units = f"{config.batch_size} images"
    elif config.method.leaves_backbone:
        units = f"{config.meta_batch} episodes of many kinds"
    return f"{checkpoint.iteration:,} steps of {units}"


def through_bundle(run: str, data: ImageDataset, suite: Suite) -> list[Evaluation]:
    """Accuracy in each column of what the run exports."""
    with tempfile.TemporaryDirectory() as folder:
        export_bundle(run, Path(folder) / "run.edge")
        graphs = load_model(Path(folder) / "run.edge", provider="cpu").graphs
        features = embed_dataset(graphs, data, graphs.manifest.support_views)
        steps = graphs.manifest.default_steps
        protocol = EvaluationProtocol(n_query=photos.N_QUERY, episodes=EPISODES, steps=steps, seed=photos.SEED)
        return photos.over_columns(graphs, data, features, suite.columns, protocol)


def in_all_layers(run: str, data: ImageDataset, suite: Suite) -> list[Evaluation]:
    """Accuracy in each column with the inner loop of training."""
    return [
        evaluate(
            run,
            data,
            EvaluationProtocol(
                n_way=way, n_shot=shot, n_query=photos.N_QUERY, episodes=ALL_LAYERS_EPISODES[way > 5], seed=photos.SEED
            ),
            all_layers=True,
            provider="cpu",
        )
        for way, shot in suite.columns
    ]


def rows(run: str, path: str, classes: str, suite: Suite) -> Iterator[list[str]]:
    """One or two rows of the table."""
    config = load_checkpoint(run).config
    data = load_dataset(path, config.preprocessing, [classes], rotations=config.rotations)
    results = through_bundle(run, data, suite)
    yield [f"**{config.method.name}**", *map(accuracy.shown, results), "no", "last layer, bundle", budget(run)]
    if config.method.adapts_all_layers:
        results = in_all_layers(run, data, suite)
        yield [f"**{config.method.name}**", *map(accuracy.shown, results), "no", "all layers, PyTorch", ""]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure training runs side by side.")
    parser.add_argument("suite", choices=SUITES, help="Which columns, and which published figures beside them.")
    parser.add_argument("data", help="A folder or zip with one sub-folder a class.")
    parser.add_argument("classes", help="The test classes, one a line.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="Folders of `edge-adapt train`.")
    arguments = parser.parse_args()
    suite = SUITES[arguments.suite]
    print(machine("onnxruntime", "torch", "numpy"), "\n")
    print(
        f"Percent of {Path(arguments.classes).stem}, {photos.N_QUERY} queries a class, {EPISODES} episodes; in all layers "
        f"{ALL_LAYERS_EPISODES[False]} of 5 ways and {ALL_LAYERS_EPISODES[True]} of more.\n"
    )
    measured = [row for run in arguments.runs for row in rows(run, arguments.data, arguments.classes, suite)]
    columns = [f"{n_way}-way {n_shot}-shot" for n_way, n_shot in suite.columns]
    published = [[*row, "", ""] for row in suite.published]
    print(table(["method", *columns, "query batch statistics", "adapts", "budget"], [*measured, *published]))


if __name__ == "__main__":
    main()
