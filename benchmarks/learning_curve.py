"""What twice the photos bring, as `adapt` predicts it, beside what they do bring.

    python benchmarks/learning_curve.py [--dev FOLDER] [--grocery GROCERY.zip] [--omniglot OMNIGLOT.zip --classes TEST.txt]
        [--ways 5 20] [--shots 3 5 10] [--episodes 40]

An episode has twice as many shots as it is adapted to at first. From the first half comes the estimate with its prediction; the
queries say what is right with the half and with all. Beside the prediction of `adapt`, three quarters of the errors, stands that
of the support set's own learning curve: a power law through the errors with 1 shot and with all but one, each from ten random
parts of the support set that are asked about the rest of it, drawn towards the law of three quarters as far as few errors say
little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import machine, table, with_one_thread
from benchmarks.photo_sets import PhotoSet, add_sources, sources
from benchmarks.steps import Source, with_enough
from edge_adapt.runtime.classifier.estimate import estimate
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import Episode, EvaluationProtocol, draw_episodes
from edge_adapt.runtime.evaluation import Features, embed_dataset
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

PARTS = 10
COMMON_EXPONENT, ITS_DEVIATION = 0.415, 0.3  # 2 ** -0.415 is three quarters


class Predicted(NamedTuple):
    """Accuracies of one episode, 0 to 1: as they are, as estimated, and as predicted with twice the shots."""

    real: float
    real_with_twice: float
    estimated: float
    with_twice: float
    by_its_curve: float


def accuracy(
    graphs: Graphs,
    support: tuple[NDArray[np.float32], NDArray[np.int64]],
    queries: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> float:
    """Of features and labels, after adapting to others."""
    n_way = int(support[1].max()) + 1
    state, _ = graphs.adapt(*support, n_way, graphs.manifest.default_steps)
    return float((graphs.predict(queries[0], state).argmax(axis=1) == queries[1]).mean())


def exponent(
    graphs: Graphs, shots: NDArray[np.float32], labels: NDArray[np.int64], n_shot: int, random: np.random.Generator
) -> float:
    """Of the power law that the errors of parts of a support set [N * K, D] follow, K shots a class, classes in a row."""
    errors = []
    for part in (1, n_shot - 1):
        wrong = []
        for _ in range(PARTS):
            order = random.permuted(np.arange(len(labels)).reshape(-1, n_shot), axis=1)
            taught, asked = order[:, :part].ravel(), order[:, part:].ravel()
            right = accuracy(graphs, (shots[taught], labels[taught]), (shots[asked], labels[asked]))
            wrong.append(1 - right)
        errors.append(float(np.mean(wrong)) * len(labels) + 0.5)
    span = np.log(n_shot - 1)
    found, evidence = np.log(errors[0] / errors[1]) / span, span**2 / (1 / errors[0] + 1 / errors[1])
    prior = ITS_DEVIATION**-2
    return float(np.clip((prior * COMMON_EXPONENT + evidence * found) / (prior + evidence), 0, 1.5))


def measure(
    graphs: Graphs, features: Features, episode: Episode, n_shot: int, random: np.random.Generator
) -> Predicted:
    """Of an episode with twice as many shots."""
    n_way = int(episode.support_labels.max()) + 1
    first = (np.arange(len(episode.support)) % (2 * n_shot)) < n_shot
    all_shots, queries = features.shots[episode.support], (features.queries[episode.query], episode.query_labels)
    shots, labels = all_shots[first], episode.support_labels[first]
    left_out = leave_one_out(graphs, shots, labels, n_way, graphs.manifest.default_steps)
    expected = estimate(left_out, dict.fromkeys(map(str, range(n_way)), n_shot))
    if expected is None or expected.with_twice is None:
        raise SystemExit("adapt predicts nothing with fewer than 3 shots; give --shots 3 or more.")
    curve = 1 - (1 - expected.accuracy) * 2 ** -exponent(graphs, shots, labels, n_shot, random)
    real = accuracy(graphs, (shots, labels), queries)
    with_twice = accuracy(graphs, (all_shots, episode.support_labels), queries)
    return Predicted(real, with_twice, expected.accuracy, expected.with_twice, curve)


def row(found: Sequence[Predicted]) -> list[str]:
    """Means in percent, and mean distances in points."""
    real, twice, estimated, predicted, curve = 100 * np.array(found).T
    gained = twice - real
    return [
        f"{real.mean():.1f} / {twice.mean():.1f}",
        f"{estimated.mean():.1f} / {predicted.mean():.1f}",
        f"{np.abs(estimated - real).mean():.1f} / {np.abs(predicted - twice).mean():.1f}",
        f"{np.abs(predicted - estimated - gained).mean():.1f}",
        f"{np.abs(curve - twice).mean():.1f}",
        f"{np.abs(curve - estimated - gained).mean():.1f}",
    ]


def adaptations(
    graphs: Graphs, data: ImageDataset, features: Features, source: PhotoSet, shape: tuple[int, int, int]
) -> list[Predicted]:
    """Over episodes, none where there are too few classes; `shape`: ways, shots, episodes."""
    n_way, n_shot, episodes = shape
    patterns = Source(source.path, source.classes, source.support, source.query)
    data, features = with_enough(data, features, patterns, 2 * n_shot)
    if len(data.class_names) < n_way:
        return []
    protocol = EvaluationProtocol(
        n_way=n_way, n_shot=2 * n_shot, episodes=episodes, support_files=source.support, query_files=source.query
    )
    random = np.random.default_rng(0)
    return [measure(graphs, features, episode, n_shot, random) for episode in draw_episodes(data, protocol)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Measure what adapt predicts of more photos.")
    add_sources(parser)
    parser.add_argument("--ways", nargs="+", type=int, default=[5, 20])
    parser.add_argument("--shots", nargs="+", type=int, default=[3, 5, 10])
    parser.add_argument("--episodes", type=int, default=40)
    arguments = parser.parse_args()
    with_one_thread()
    print(machine("onnxruntime", "numpy"), "\n")
    rows, everything = [], []
    for source, model in sources(arguments):
        graphs = load_model(model, "cpu", 1).graphs
        data = load_dataset(source.path, graphs.manifest.preprocessing, source.classes, progress=True)
        features = embed_dataset(graphs, data, graphs.manifest.support_views, progress=True)
        of_set = []
        for n_way in arguments.ways:
            for n_shot in arguments.shots:
                of_set += adaptations(graphs, data, features, source, (n_way, n_shot, arguments.episodes))
        everything += of_set
        rows.append([source.name, str(len(of_set)), *row(of_set)])
    rows.append(["all", str(len(everything)), *row(everything)])
    header = ["data", "adaptations", "real", "estimated", "off by", "gain off by"]
    print("Accuracy in percent, distances in points; as it is / with twice the shots.\n")
    print(table([*header, "by its curve: off by", "gain off by"], rows))


if __name__ == "__main__":
    main()
