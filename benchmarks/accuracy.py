"""Accuracy of a bundle on Omniglot, beside published figures, and how it behaves away from the usual four columns.

    python benchmarks/accuracy.py OMNIGLOT.zip TEST_CLASSES.txt [--model characters] [--record]

Every image is embedded once, through the bundle and ONNX Runtime as on a device; the episodes then adapt and predict as
`evaluate` does. With the Vinyals split's test characters, rotated, the first table is the one of the model card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import machine, table
from edge_adapt.export.bundle import record_accuracy
from edge_adapt.runtime.contract import BATCH
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import Episode, EvaluationProtocol, draw_episodes
from edge_adapt.runtime.evaluation import Evaluation, Features, embed_dataset, evaluate_episodes
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

EPISODES, N_QUERY, SEED = 1000, 15, 0
COLUMNS = ((5, 1), (5, 5), (20, 1), (20, 5))
PUBLISHED = (
    ("Siamese (Koch 2015, as quoted by MAML)", ("97.3", "98.4", "88.2", "97.0"), "", "no"),
    ("MANN (no conv; Santoro 2016, as quoted by MAML)", ("82.8", "94.9", "", ""), "", "no"),
    ("Matching Networks", ("98.1", "98.9", "93.8", "98.5"), "V", "no"),
    ("ProtoNet", ("98.8", "99.7", "96.0", "98.9"), "V", "no"),
    ("MAML, best non-transductive norm (TaskNorm)", ("94.4", "98.6", "90.0", "96.8"), "", "no"),
    ("Reptile", ("95.4", "98.9", "88.1", "96.7"), "R", "no"),
    ("MAML", ("98.7", "99.9", "95.8", "98.9"), "R", "yes"),
    ("FOMAML", ("98.3", "99.2", "89.4", "97.9"), "R", "yes"),
    ("Meta-SGD", ("99.5", "99.9", "95.9", "99.0"), "R", "yes"),
    ("ANIL", ("", "", "96.2", "98.0"), "R", "yes"),
    ("MAML++", ("99.5", "99.9", "97.7", "99.3"), "R", "per step"),
)
"""Method, the four columns in percent, the split (V: Vinyals, R: random characters), and whether a query's answer came from
statistics of the query batch."""
WAYS, SHOTS, WIDE_EPISODES = (5, 20, 50, 100, 200), (1, 5), 100
FEW, MANY = 1, 19


@dataclass(frozen=True)
class Embedded:
    """A bundle's graphs, and a data set with the features that they give."""

    graphs: Graphs
    data: ImageDataset
    features: Features

    def measure(self, n_way: int, n_shot: int, episodes: int = EPISODES) -> Evaluation:
        """Accuracy over episodes."""
        steps = self.graphs.manifest.default_steps
        protocol = EvaluationProtocol(
            n_way=n_way, n_shot=n_shot, n_query=N_QUERY, episodes=episodes, steps=steps, seed=SEED
        )
        return evaluate_episodes(self.graphs, self.data, protocol, features=self.features)

    def logits(self, episode: Episode, labels: NDArray[np.int64], n_way: int) -> NDArray[np.float32]:
        """Of the query set [Q, N], after adapting to the support set with these labels."""
        support, query = self.features.shots[episode.support], self.features.queries[episode.query]
        state, _ = self.graphs.adapt(support, labels, n_way, self.graphs.manifest.default_steps)
        return self.graphs.predict(query, state)


def shown(result: Evaluation) -> str:
    """An accuracy in percent, with its 95% confidence interval."""
    return percent(result.accuracy, result.ci95)


def percent(mean: float, ci95: float) -> str:
    """As tables print it."""
    return f"{100 * mean:.2f} ± {100 * ci95:.2f}"


def uneven_episodes(data: ImageDataset, n_way: int, episodes: int) -> Iterator[tuple[Episode, NDArray[np.bool_]]]:
    """Episodes in which every other class has `FEW` shots and the rest `MANY`, with one query a class.

    Yields:
        The episode, and of each query [N] whether its class is one with few shots.
    """
    for episode in draw_episodes(
        data, EvaluationProtocol(n_way=n_way, n_shot=MANY, n_query=1, episodes=episodes, seed=SEED)
    ):
        has_few = np.arange(n_way) % 2 == 0
        position = np.arange(len(episode.support)) % MANY
        kept = (position < FEW) | ~has_few[episode.support_labels]
        fewer = replace(episode, support=episode.support[kept], support_labels=episode.support_labels[kept])
        yield fewer, has_few[episode.query_labels]


def uneven(embedded: Embedded, n_way: int) -> list[str]:
    """A row: accuracy on queries of the classes with few shots, of those with many, and on all."""
    right: list[tuple[float, float, float]] = []
    for episode, is_few in uneven_episodes(embedded.data, n_way, EPISODES):
        answers = embedded.logits(episode, episode.support_labels, n_way).argmax(axis=1)
        hits = answers == episode.query_labels
        right.append((float(hits[is_few].mean()), float(hits[~is_few].mean()), float(hits.mean())))
    columns = np.array(right)
    spread = 1.96 * columns.std(axis=0, ddof=1) / len(columns) ** 0.5
    return [str(n_way), *(percent(mean, ci95) for mean, ci95 in zip(columns.mean(axis=0), spread, strict=True))]


def permutation_difference(embedded: Embedded, n_way: int, episodes: int = 100) -> float:
    """How far the logits of permuted classes are from the permuted logits, relative to the largest logit."""
    random = np.random.default_rng(SEED)
    worst = 0.0
    for episode in draw_episodes(
        embedded.data, EvaluationProtocol(n_way=n_way, n_query=N_QUERY, episodes=episodes, seed=SEED)
    ):
        order = random.permutation(n_way)  # class c becomes order[c]
        straight = embedded.logits(episode, episode.support_labels, n_way)
        permuted = embedded.logits(episode, order[episode.support_labels], n_way)[:, order]
        worst = max(worst, relative(permuted, straight))
    return worst


def batch_difference(graphs: Graphs, data: ImageDataset, n_way: int = 20) -> tuple[float, int]:
    """Of a batch of 64 and the same images alone: how far the logits differ, relative to the largest, and how many labels do."""
    random = np.random.default_rng(SEED)
    classes = random.choice(len(data.class_names), n_way, replace=False)
    support = graphs.embed(data.images[data.starts[classes]])
    state, _ = graphs.adapt(support, np.arange(n_way), n_way, graphs.manifest.default_steps)
    members = np.concatenate([np.arange(data.starts[c] + 1, data.starts[c + 1]) for c in classes])
    images = data.images[random.choice(members, BATCH, replace=False)]
    together = graphs.predict(graphs.embed(images), state)
    alone = np.concatenate([graphs.predict(graphs.embed(image[None]), state) for image in images])
    return relative(alone, together), int((alone.argmax(axis=1) != together.argmax(axis=1)).sum())


def relative(ones: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """The largest difference over the largest magnitude."""
    return float(np.abs(ones - others).max() / np.abs(others).max())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure a bundle's accuracy on Omniglot.")
    parser.add_argument("data", help="Omniglot, a folder or zip with one sub-folder a class.")
    parser.add_argument("classes", help="The test classes, one a line.")
    parser.add_argument("--model", default="characters", help="A bundle's path or name.")
    parser.add_argument("--record", action="store_true", help="Write the first table's figures into the bundle.")
    arguments = parser.parse_args()
    graphs = load_model(arguments.model, provider="cpu").graphs
    data = load_dataset(arguments.data, graphs.manifest.preprocessing, [arguments.classes], rotations=True)
    embedded = Embedded(graphs, data, embed_dataset(graphs, data))
    rotated = f"{len(data.class_names)} classes of {arguments.classes} with rotations"
    print(f"{arguments.model}: {rotated}, {graphs.manifest.default_steps} steps.")
    print(machine("onnxruntime", "numpy"), "\n")

    print(f"Accuracy in percent over {EPISODES} episodes, {N_QUERY} queries a class.\n")
    results = [embedded.measure(*column) for column in COLUMNS]
    ours = (
        f"**{arguments.model}**",
        *map(shown, results),
        Path(arguments.classes).stem,
        "no",
    )
    rows = [ours, *((method, *figures, split, batch) for method, figures, split, batch in PUBLISHED)]
    columns = [f"{n_way}-way {n_shot}-shot" for n_way, n_shot in COLUMNS]
    print(table(["method", *columns, "split", "query batch statistics"], rows), "\n")

    print(f"More ways, over {WIDE_EPISODES} episodes, {N_QUERY} queries a class.\n")
    wide = [
        [f"{n_way}", *(shown(embedded.measure(n_way, n_shot, WIDE_EPISODES)) for n_shot in SHOTS)] for n_way in WAYS
    ]
    print(table(["ways", *(f"{n_shot}-shot" for n_shot in SHOTS)], wide), "\n")

    print(f"Unequal shots: half of the classes with {FEW}, half with {MANY}; {EPISODES} episodes, 1 query a class.\n")
    header = ["ways", f"queries of classes with {FEW} shot", f"with {MANY} shots", "all"]
    print(table(header, [uneven(embedded, n_way) for n_way in (6, 20)]), "\n")

    permutations = ", ".join(f"{permutation_difference(embedded, n_way):.1e} at {n_way} ways" for n_way in (5, 20))
    print(f"Permuted classes against permuted logits, largest relative difference: {permutations}.")
    difference, labels = batch_difference(graphs, data)
    print(f"{BATCH} images alone against in one batch: logits {difference:.1e} (relative), {labels} labels differ.")
    if arguments.record:
        described = f"Omniglot, {Path(arguments.classes).stem}, with rotations"
        record_accuracy(graphs.bundle.path, described, results)
        print(f"\nRecorded in {graphs.bundle.path}.")


if __name__ == "__main__":
    main()
