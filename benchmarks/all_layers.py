"""What a run's inner loop on all layers costs on the device and brings there, beside steps on the last layer.

    edge-adapt export RUN -o last.edge
    edge-adapt export RUN -o all.edge --all-layers
    python benchmarks/all_layers.py last.edge all.edge OMNIGLOT.zip:TEST_CLASSES.txt FOLDER...

Both bundles run in ONNX Runtime on one thread, on the same episodes. No query's answer comes from statistics of the query batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks import accuracy
from benchmarks.measuring import machine, ratio, table, time_in_turn
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.data.source import DataSource
from edge_adapt.runtime.evaluation import evaluate_episodes
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

WAYS, SHOTS, STEPS = 5, (1, 5), 5
EPISODES, ROUNDS = 600, 20


def costs(models: Mapping[str, Graphs], rounds: int = ROUNDS) -> Iterator[list[str]]:
    """Rows of processor time: adapting to random images, and then the answer to one."""
    size = next(iter(models.values())).manifest.preprocessing
    for n_shot in SHOTS:
        labels = np.repeat(np.arange(WAYS), n_shot)
        pixels = np.random.default_rng(0).integers(0, 256, (len(labels), size.height, size.width, size.channels))
        images = pixels.astype(np.uint8)
        features = {name: graphs.embed(images) for name, graphs in models.items()}
        adapt = {name: partial(graphs.adapt, features[name], labels, WAYS, STEPS) for name, graphs in models.items()}
        yield _row(f"adapt, {WAYS}-way {n_shot}-shot, {STEPS} steps", adapt, rounds)
    classify = {name: _classifying(graphs, images, labels) for name, graphs in models.items()}
    yield _row("embed and predict, one image", classify, rounds)


def _classifying(graphs: Graphs, images: np.ndarray, labels: np.ndarray) -> Callable[[], object]:
    state, _ = graphs.adapt(graphs.embed(images), labels, WAYS, STEPS)
    return lambda: graphs.predict(graphs.embed(images[:1]), state)


def _row(what: str, calls: Mapping[str, Callable[[], object]], rounds: int) -> list[str]:
    last, every = time_in_turn(calls, rounds).values()
    return [what, f"{1e3 * median(last):.2f}", f"{1e3 * median(every):.1f}", str(ratio(every, last))]


def accuracies(models: Mapping[str, Graphs], data: ImageDataset, episodes: int) -> Iterator[list[str]]:
    """Rows of accuracy on a data set."""
    for n_shot in SHOTS:
        row = [f"{Path(data.source).stem}, {WAYS}-way {n_shot}-shot"]
        for graphs in models.values():
            for steps in (0, STEPS):
                over = EvaluationProtocol(n_way=WAYS, n_shot=n_shot, n_query=15, episodes=episodes, steps=steps, seed=0)
                row.append(accuracy.shown(evaluate_episodes(graphs, data, over)))
        yield row


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Steps on all layers beside steps on the last.")
    parser.add_argument("last", help="The bundle of a run.")
    parser.add_argument("every", help="The bundle of the same run that adapts all layers.")
    parser.add_argument("data", nargs="+", metavar="DATA[:CLASSES]", help="Folders or zips, and their classes to take.")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="Of each figure.")
    arguments = parser.parse_args()
    models = {
        name: load_model(path, "cpu", 1).graphs for name, path in vars(arguments).items() if name in ("last", "every")
    }
    print(machine("onnxruntime", "numpy"), "\n")
    print(f"Milliseconds of one thread (medians), and their ratio over {ROUNDS} turns.\n")
    print(table(["", "last layer", "all layers", "all / last"], list(costs(models))), "\n")
    print(f"Percent, {arguments.episodes} episodes.\n")
    rows: list[list[str]] = []
    for given in arguments.data:
        path, _, classes = given.partition(":")
        data = DataSource(path, [classes] if classes else []).load(models["last"].manifest.preprocessing)
        rows += accuracies(models, data, arguments.episodes)
    header = ["", *(f"{name}, {steps} steps" for name in ("last layer", "all layers") for steps in (0, STEPS))]
    print(table(header, rows))


if __name__ == "__main__":
    main()
