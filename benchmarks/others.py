"""What photos of no class (`_other`) do for telling unknown images.

    python benchmarks/others.py [--dev FOLDER] [--grocery GROCERY.zip] [--omniglot OMNIGLOT.zip --classes TEST.txt]
        [--shots 1 5] [--episodes 100]

An episode has three kinds of classes, five of each where there are as many: known ones; unknown ones, whose images are queries of
no class; and others. The classifier is given 0, 5 or 20 photos of no class, of the others, so that it never sees what it will be
asked about; or 5 or 20 of the unknown classes themselves, as they gather where mistakes are corrected.

Two tables: the share of known queries that the default threshold refuses and of unknown ones that it catches; and the AUROC of
known against unknown queries, with the share caught by the threshold that in hindsight refuses a share of 0.05.
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
from benchmarks.self_knowledge import auroc
from benchmarks.steps import Source, with_enough
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.classifier.rejection import UNKNOWN_AT, Likeness, familiarity
from edge_adapt.runtime.classifier.self_knowledge import self_knowledge
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.episodes import Episode, EvaluationProtocol, draw_episodes
from edge_adapt.runtime.evaluation import Features, embed_dataset
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

WAYS, OTHER_SHOTS = 5, 10
GIVEN = (("none", 0), ("others", 5), ("others", 20), ("unknown", 5), ("unknown", 20))
"""Photos of no class: of which classes, and how many."""


class Told(NamedTuple):
    """Shares of one episode, 0 to 1."""

    refused: float
    caught: float
    auroc: float
    caught_in_hindsight: float


def measure(graphs: Graphs, features: Features, episode: Episode, n_way: int, n_shot: int) -> list[Told]:
    """One of each of `GIVEN`; the first third of the classes is known, the second unknown."""
    priors, steps, kind = graphs.manifest.priors, graphs.manifest.default_steps, episode.support_labels // n_way
    if priors is None:
        raise SystemExit(f"{graphs.bundle.path} has no priors; learn them with benchmarks/priors.py.")
    shots = features.shots[episode.support]
    rank = np.arange(len(shots)) % (len(shots) // (3 * n_way))  # of a shot among those of its class
    ours = (kind == 0) & (rank < n_shot)
    support, labels = shots[ours], episode.support_labels[ours]
    chosen = episode.query_labels < 2 * n_way
    query, known = features.queries[episode.query[chosen]], episode.query_labels[chosen] < n_way
    state, _ = graphs.adapt(support, labels, n_way, steps)
    own, logits = graphs.predict(support, state), graphs.predict(query, state)
    left_out = leave_one_out(graphs, support, labels, n_way, steps)
    found = []
    for of, count in GIVEN:
        rows = np.flatnonzero(kind == (2 if of == "others" else 1))
        others = shots[rows[np.argsort(rank[rows], kind="stable")][:count]]  # of as many classes as there are
        knowledge = self_knowledge(support, labels, others, own, left_out, priors)
        scores = Likeness.of(support, labels, knowledge.own_logit, others).scores(query, logits)
        familiar = [familiarity(score, knowledge.score, knowledge.score_spread) for score in scores]
        unknown = np.array(familiar) < UNKNOWN_AT
        hindsight = scores[~known] < np.quantile(scores[known], UNKNOWN_AT)
        found.append(
            Told(
                float(unknown[known].mean()),
                float(unknown[~known].mean()),
                auroc(scores, known),
                float(hindsight.mean()),
            )
        )
    return found


def episodes_of(
    graphs: Graphs, data: ImageDataset, features: Features, source: PhotoSet, n_shot: int, episodes: int
) -> NDArray[np.float64]:
    """Means over episodes, [one of `GIVEN`, figure], in percent."""
    patterns = Source(source.path, source.classes, source.support, source.query)
    n_support = max(n_shot, OTHER_SHOTS)
    data, features = with_enough(data, features, patterns, n_support)
    n_way = min(WAYS, len(data.class_names) // 3)
    protocol = EvaluationProtocol(
        n_way=3 * n_way,
        n_shot=n_support,
        episodes=episodes,
        support_files=source.support,
        query_files=source.query,
    )
    drawn = draw_episodes(data, protocol)
    found = [measure(graphs, features, episode, n_way, n_shot) for episode in drawn]
    return np.asarray(100 * np.mean(found, axis=0), np.float64)


def rows_of(name: str, means: NDArray[np.float64], figures: Sequence[int]) -> list[str]:
    """A row of pairs of figures."""
    return [name, *(" / ".join(f"{of_given[figure]:.1f}" for figure in figures) for of_given in means)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure what photos of no class do for telling unknown images.")
    add_sources(parser)
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    with_one_thread()
    print(machine("onnxruntime", "numpy"), "\n")
    measured: dict[int, dict[str, NDArray[np.float64]]] = {shot: {} for shot in arguments.shots}
    for source, model in sources(arguments):
        graphs = load_model(model, "cpu", 1).graphs
        data = load_dataset(source.path, graphs.manifest.preprocessing, source.classes, progress=True)
        features = embed_dataset(graphs, data, graphs.manifest.support_views, progress=True)
        for shot, of_shot in measured.items():
            of_shot[source.name] = episodes_of(graphs, data, features, source, shot, arguments.episodes)
    header = ["", *(f"{count} of {of}" if count else "none" for of, count in GIVEN)]
    for title, figures in (("Refused / caught", (0, 1)), ("AUROC / caught in hindsight", (2, 3))):
        rows = []
        for shot, of_shot in measured.items():
            everything = of_shot | {"mean": np.mean(list(of_shot.values()), axis=0)}
            rows += [rows_of(f"{name}, {shot}-shot", means, figures) for name, means in everything.items()]
        print(f"{title}, percent, by photos of no class.\n")
        print(table(header, rows), "\n")


if __name__ == "__main__":
    main()
