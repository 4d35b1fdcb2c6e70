"""Bundles for photos beside frozen extractors with a plain head, on the same episodes of many sets of photos.

    python -m pip install scikit-learn==1.9.1
    python benchmarks/photos.py MODEL... --dev FOLDER --grocery GROCERY.zip [--frozen NAME=EXTRACTOR.onnx]... [--episodes 600]
    python benchmarks/photos.py MODEL... --mini-imagenet FOLDER --classes TEST_CLASSES.txt [--record]

A frozen extractor is what a practitioner would take instead: an ONNX graph from `images`, uint8 [B, S, S, 3], to `features`. They
are brought to length 1, and class means or logistic regression (C = 10) are fitted to the support set of each episode. Every
image is embedded once, and once for each view that a bundle takes of support images, through ONNX Runtime as on a device; the
episodes then adapt and predict as `evaluate` does. `benchmarks/photo_sets.py` says which files are support and which are queries,
so that photos taken one after the other are not on both sides. On mini-ImageNet bundles stand beside published figures, without
extractors: what was trained on ImageNet has seen its test classes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.frozen_graph import FrozenGraph
from benchmarks.measuring import machine, ratio, table, time_in_turn, with_one_thread
from benchmarks.photo_sets import GROCERY, MINI_IMAGENET, PhotoSet, find
from benchmarks.plain_heads import ClassMeans, Embed, LogisticRegression
from edge_adapt.export.bundle import record_accuracy
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import Evaluation, Features, embed_dataset, evaluate_episodes
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import View
from edge_adapt.runtime.model import load_model

N_WAY, SHOTS, N_QUERY, SEED = 5, (1, 5), 15, 0
WIDE, WIDE_EPISODES = (81, 5), 100
"""Ways and shots of GroceryStore as a whole."""
C = 10
ROUNDS, CALLS = 20, 5
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

Column = tuple[int, int]
"""Ways and shots."""


def over_columns(
    head: EpisodeModel,
    data: ImageDataset,
    features: Features,
    columns: Sequence[Column],
    protocol: EvaluationProtocol,
) -> list[Evaluation]:
    """The accuracy for each number of ways and shots, with at most `WIDE_EPISODES` where there are more than 20 ways."""
    few = replace(protocol, episodes=min(protocol.episodes, WIDE_EPISODES))
    return [
        evaluate_episodes(
            head, data, replace(protocol if n_way <= 20 else few, n_way=n_way, n_shot=n_shot), features=features
        )
        for n_way, n_shot in columns
    ]


@dataclass(frozen=True)
class Candidate:
    """What turns images into features, and the heads that are measured on them.

    Attributes:
        name: as the table of latencies calls it.
        path: of the bundle or graph.
        preprocessing: what `embed` takes.
        heads: by the name of their row.
        steps: of the heads' inner loop.
        views: of support images.
    """

    name: str
    path: Path
    preprocessing: Preprocessing
    embed: Embed
    heads: Mapping[str, EpisodeModel]
    steps: int = 0
    views: tuple[View, ...] = ()

    def measure(self, data: PhotoSet, columns: Sequence[Column], episodes: int) -> dict[str, list[Evaluation]]:
        """The accuracy of each head in each column, on features that are computed once."""
        loaded = load_dataset(data.path, self.preprocessing, data.classes)
        features = embed_dataset(next(iter(self.heads.values())), loaded, self.views)
        protocol = EvaluationProtocol(
            n_query=N_QUERY,
            episodes=episodes,
            steps=self.steps,
            seed=SEED,
            support_files=data.support,
            query_files=data.query,
        )
        return {name: over_columns(head, loaded, features, columns, protocol) for name, head in self.heads.items()}


def bundle(model: str) -> Candidate:
    """A bundle, by its path or name, with its own head."""
    graphs = load_model(model, provider="cpu", threads=1).graphs
    manifest, name = graphs.manifest, Path(model).stem
    return Candidate(
        name,
        Path(graphs.bundle.path),
        manifest.preprocessing,
        graphs.embed,
        {f"**{name}**": graphs},
        manifest.default_steps,
        manifest.support_views,
    )


def frozen(text: str) -> Candidate:
    """An extractor, `NAME=EXTRACTOR.onnx`, with the plain heads."""
    name, _, path = text.partition("=")
    if not path:
        raise SystemExit(f"--frozen takes NAME=FILE.onnx and not {text!r}.")
    graph = FrozenGraph(path)
    heads: dict[str, EpisodeModel] = {
        "class means": ClassMeans(graph.embed),
        "logistic regression": LogisticRegression(graph.embed, C),
    }
    return Candidate(
        name,
        Path(path),
        graph.preprocessing,
        graph.embed,
        {f"{name}, {head}": model for head, model in heads.items()},
    )


def over_sets(
    candidates: Sequence[Candidate], sets: Sequence[PhotoSet], episodes: int
) -> dict[Column, dict[str, dict[str, Evaluation]]]:
    """For ways and shots, the name of a row and that of a set: the accuracy."""
    found: dict[Column, dict[str, dict[str, Evaluation]]] = {}
    for data in sets:
        columns = [(N_WAY, n_shot) for n_shot in SHOTS] + [WIDE] * (data.name == GROCERY.name)
        for candidate in candidates:
            for row, results in candidate.measure(data, columns, episodes).items():
                for column, result in zip(columns, results, strict=True):
                    found.setdefault(column, {}).setdefault(row, {})[data.name] = result
    return found


def groups(sets: Sequence[PhotoSet]) -> dict[str, Sequence[PhotoSet]]:
    """What means are taken over, by the names of their columns; of a single set there are none."""
    if len(sets) == 1:
        return {}
    chosen, reported = ([data for data in sets if data.chosen_on == which] for which in (True, False))
    return {"mean": sets} | ({"to choose on": chosen, "to report": reported} if chosen and reported else {})


def mean(row: Mapping[str, float], sets: Sequence[PhotoSet]) -> float:
    """Of a row, by set, over some of the sets."""
    return float(np.mean([row[data.name] for data in sets]))


def accuracy_table(results: Mapping[str, Mapping[str, Evaluation]], sets: Sequence[PhotoSet]) -> str:
    """A row for each model or baseline, and a column for each set and for the means."""
    rows = []
    for name, row in results.items():
        percent = {data.name: 100 * row[data.name].accuracy for data in sets}
        shown = [*percent.values(), *(mean(percent, group) for group in groups(sets).values())]
        rows.append([name, *(f"{value:.2f}" for value in shown)])
    return table(["model", *(data.name for data in sets), *groups(sets)], rows)


def difference_table(
    results: Mapping[str, Mapping[str, Evaluation]], ours: str, others: Sequence[str], sets: Sequence[PhotoSet]
) -> str:
    """What a model has more than others, in points: in the means, and on the set where it is least."""
    rows = []
    for name in others:
        pairs = {data.name: (results[ours][data.name], results[name][data.name]) for data in sets}
        points = {data: 100 * (one.accuracy - other.accuracy) for data, (one, other) in pairs.items()}
        worst = min(points, key=points.__getitem__)
        shown = [f"{mean(points, group):+.2f}" for group in groups(sets).values()]
        rows.append([name, *shown, f"{points[worst]:+.2f} ({worst})"])
    return table([f"{ours} less", *groups(sets), "at worst"], rows)


def report(
    bundles: Sequence[Candidate], baselines: Sequence[Candidate], sets: Sequence[PhotoSet], episodes: int, record: bool
) -> None:
    """Print the tables of accuracies."""
    results = over_sets([*bundles, *baselines], sets, episodes)
    ours, others = next(iter(bundles[0].heads)), [row for candidate in baselines for row in candidate.heads]
    for (n_way, n_shot), rows in results.items():
        among = [data for data in sets if data.name in rows[ours]]
        widest = 100 * max(result.ci95 for row in rows.values() for result in row.values())
        count = rows[ours][among[0].name].protocol.episodes
        print(f"{n_way}-way {n_shot}-shot: percent, {count} episodes, up to {N_QUERY} queries a class,")
        print(f"each query on its own; 95% intervals are at most ± {widest:.2f}.\n")
        print(accuracy_table(rows, among), "\n")
        if others:
            print(difference_table(rows, ours, others, among), "\n")
    for candidate in bundles if record and sets[-1].name == GROCERY.name else ():
        for row in candidate.heads:
            write_accuracy(candidate, GROCERY.name, [rows[row][GROCERY.name] for rows in results.values()])


def report_mini_imagenet(candidates: Sequence[Candidate], data: PhotoSet, episodes: int, record: bool) -> None:
    """Print the table of bundles beside published figures."""
    rows, columns = [], [(N_WAY, n_shot) for n_shot in SHOTS]
    for candidate in candidates:
        for name, results in candidate.measure(data, columns, episodes).items():
            percent = [f"{100 * result.accuracy:.2f} ± {100 * result.ci95:.2f}" for result in results]
            rows.append([name, *percent, "no"])
            if record:
                write_accuracy(candidate, data.name, results)
    header = ["model", *(f"{n_way}-way {n_shot}-shot" for n_way, n_shot in columns), "query batch statistics"]
    print(f"{data.name}: percent, {episodes} episodes, up to {N_QUERY} queries a class.\n")
    print(table(header, [*rows, *PUBLISHED]), "\n")


def write_accuracy(candidate: Candidate, data: str, results: Sequence[Evaluation]) -> None:
    """Put what was measured on a data set in the place of what the bundle says of it."""
    record_accuracy(candidate.path, data, results)
    print(f"{data}: recorded in {candidate.path}.\n")


def latency_table(candidates: Sequence[Candidate], reference: Candidate) -> str:
    """What `embed` of one image takes on one thread, against the reference, and what each file weighs."""
    random = np.random.default_rng(0)
    turns = {}
    for candidate in candidates:
        shape = candidate.preprocessing
        image = random.integers(0, 256, (1, shape.height, shape.width, shape.channels)).astype(np.uint8)
        turns[candidate.name] = lambda embed=candidate.embed, image=image: embed(image)
    seconds = time_in_turn(turns, ROUNDS, CALLS)
    rows = []
    for candidate in candidates:
        took, shape = seconds[candidate.name], candidate.preprocessing
        rows.append(
            [
                candidate.name,
                f"{shape.height}x{shape.width}",
                f"{1000 * float(np.median(took)):.2f} ms",
                str(ratio(took, seconds[reference.name])),
                f"{candidate.path.stat().st_size / 1e6:.2f} MB",
            ]
        )
    return table(["model", "pixels", "embed", f"ratio to {reference.name}", "on disk"], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure bundles for photos beside frozen extractors.")
    parser.add_argument("models", nargs="+", help="Paths or names of bundles.")
    parser.add_argument("--dev", metavar="FOLDER", help="The zips of the development sets.")
    parser.add_argument("--grocery", metavar="ZIP", help="GroceryStore, a sub-folder a class.")
    parser.add_argument("--frozen", metavar="NAME=FILE", action="append", default=[], help="An extractor in ONNX.")
    parser.add_argument("--mini-imagenet", metavar="FOLDER", help="One sub-folder a WordNet id.")
    parser.add_argument("--classes", metavar="FILE", help="The test classes of mini-ImageNet, one a line.")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--record", action="store_true", help="Write mini-ImageNet and GroceryStore into the bundles.")
    arguments = parser.parse_args()
    with_one_thread()
    sets = find(arguments.dev, arguments.grocery)
    bundles = [bundle(model) for model in arguments.models]
    baselines = [frozen(text) for text in arguments.frozen]
    names = [candidate.name for candidate in (*bundles, *baselines)]
    if len(set(names)) < len(names):
        raise SystemExit(f"The names are {', '.join(names)}; give each file another.")
    print(machine("onnxruntime", "numpy", *(["scikit-learn"] if baselines else [])), "\n")
    if sets:
        report(bundles, baselines, sets, arguments.episodes, arguments.record)
    if arguments.mini_imagenet:
        classes = (arguments.classes,) if arguments.classes else ()
        data = replace(MINI_IMAGENET, path=arguments.mini_imagenet, classes=classes)
        report_mini_imagenet(bundles, data, arguments.episodes, arguments.record)
    print(f"`embed` of one image, one thread; processor time, {ROUNDS} turns.\n")
    print(latency_table([*bundles, *baselines], [*baselines, *bundles][0]))


if __name__ == "__main__":
    main()
