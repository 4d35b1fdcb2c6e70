"""What a classifier knows about itself: which images are of no class, how far confidence holds, what accuracy to expect.

    python benchmarks/self_knowledge.py MODEL DATA... [--ways 5] [--shots 1 5] [--episodes 600]

DATA is a folder or zip, and may go on with `,classes=FILE`, `,support=PATTERN` and `,query=PATTERN`, as of benchmarks/steps.py.
An episode has twice as many classes as ways, or all where there are fewer; half of them are known, and the queries of the others
are of no class. Every image is embedded once, and each query is scored on its own.

Three tables: the AUROC of known against unknown queries, mean over episodes, by each score; what the default threshold refuses of
known and catches of unknown queries, beside the best threshold in hindsight, for the same share refused and for the best balanced
accuracy; and the expected calibration error (15 bins, known queries) without and with the temperature, with the share of episodes
whose accuracy is in the interval that `adapt` states.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import machine, table, with_one_thread
from benchmarks.steps import Source, with_enough
from edge_adapt.runtime.classifier.estimate import estimate
from edge_adapt.runtime.classifier.leave_one_out import leave_one_out
from edge_adapt.runtime.classifier.rejection import UNKNOWN_AT, Likeness, familiarity
from edge_adapt.runtime.classifier.self_knowledge import self_knowledge
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import Episode, EvaluationProtocol, draw_episodes
from edge_adapt.runtime.evaluation import Features, embed_dataset
from edge_adapt.runtime.graphs import Graphs
from edge_adapt.runtime.model import load_model

N_QUERY, BINS = 15, 15

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """What one episode gives; of Q queries, K of them known.

    Attributes:
        known: bool [Q].
        scores: by name, float64 [Q], ours among them.
        familiarity: float64 [Q].
        right: of known queries, bool [K].
        confidence: of known queries, without and with the temperature, float64 [K] each.
        covered: whether the accuracy is in the interval of the estimate; None where there is none.
    """

    known: NDArray[np.bool_]
    scores: dict[str, Floats]
    familiarity: Floats
    right: NDArray[np.bool_]
    confidence: tuple[Floats, Floats]
    covered: bool | None


def measure(graphs: Graphs, episode: Episode, features: Features, n_way: int) -> Measured:
    """Adapt to the first classes of an episode, and ask about all of its queries."""
    priors, steps = graphs.manifest.priors, graphs.manifest.default_steps
    if priors is None:
        raise SystemExit(f"{graphs.bundle.path} has no priors; learn them with benchmarks/priors.py.")
    ours = episode.support_labels < n_way
    support, labels = features.shots[episode.support[ours]], episode.support_labels[ours]
    query, known = features.queries[episode.query], episode.query_labels < n_way
    state, _ = graphs.adapt(support, labels, n_way, steps)
    logits = graphs.predict(query, state)
    left_out = leave_one_out(graphs, support, labels, n_way, steps)
    knowledge = self_knowledge(support, labels, support[:0], graphs.predict(support, state), left_out, priors)
    likeness = Likeness.of(support, labels, knowledge.own_logit)
    score = likeness.scores(query, logits)
    familiar = np.array([familiarity(one, knowledge.score, knowledge.score_spread) for one in score])
    right = logits[known].argmax(axis=1) == episode.query_labels[known]
    expected = estimate(left_out, dict(zip(map(str, range(n_way)), np.bincount(labels).tolist(), strict=True)))
    covered = None if expected is None else bool(expected.interval[0] <= right.mean() <= expected.interval[1])
    confidence = tuple(softmax(logits[known] / t).max(axis=1) for t in (1, knowledge.temperature))
    scores = plain_scores(support, labels, query, logits) | {"**ours**": score}
    return Measured(known, scores, familiar, right, (confidence[0], confidence[1]), covered)


def plain_scores(
    support: NDArray[np.float32], labels: NDArray[np.int64], query: NDArray[np.float32], logits: NDArray[np.float32]
) -> dict[str, Floats]:
    """The scores that others use, higher for known images: support [M, D], labels [M], query [Q, D], logits [Q, N]."""
    wide = logits.astype(np.float64)
    ordered = np.sort(wide, axis=1)
    prototypes = np.stack([support[labels == label].mean(axis=0) for label in range(logits.shape[1])])
    mean = prototypes.mean(axis=0)
    shots = np.sort(cosines(query, support), axis=1)
    distances = (query**2).sum(axis=1)[:, None] - 2 * query @ prototypes.T + (prototypes**2).sum(axis=1)
    return {
        "softmax confidence": softmax(wide).max(axis=1),
        "largest logit": ordered[:, -1],
        "energy": ordered[:, -1] + np.log(np.exp(wide - ordered[:, -1:]).sum(axis=1)),
        "margin": ordered[:, -1] - ordered[:, -2],
        "distance to the nearest prototype": -distances.min(axis=1).astype(np.float64),
        "cosine to the nearest prototype": cosines(query, prototypes).max(axis=1),
        "the same, less the support mean": cosines(query - mean, prototypes - mean).max(axis=1),
        "cosine to the nearest shot": shots[:, -1],
        "mean of the 3 nearest": shots[:, -3:].mean(axis=1),
    }


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> Floats:
    """Of rows [Q, D] and [M, D] with each other: [Q, M]."""
    lengths = [np.maximum(np.linalg.norm(rows, axis=1), 1e-12) for rows in (one, other)]
    return np.asarray(one @ other.T / np.outer(*lengths), np.float64)


def softmax(logits: NDArray[np.floating]) -> Floats:
    """Of rows."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float64)


def auroc(scores: Floats, known: NDArray[np.bool_]) -> float:
    """The share of pairs of a known and an unknown query in which the known one scores more, ties counting half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[inverse]
    positives = int(known.sum())
    return float((ranks[known].sum() - positives * (positives + 1) / 2) / (positives * (len(known) - positives)))


def calibration_error(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Expected calibration error, 0 to 1."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return sum(abs(float(right[bins == b].sum() - confidence[bins == b].sum())) for b in range(BINS)) / len(right)


def thresholds(found: Sequence[Measured]) -> list[str]:
    """Percent refused of known and caught of unknown queries by default, and in hindsight."""
    refused = float(np.mean([(one.familiarity[one.known] < UNKNOWN_AT).mean() for one in found]))
    caught = float(np.mean([(one.familiarity[~one.known] < UNKNOWN_AT).mean() for one in found]))
    alike, best = [], []
    for one in found:
        score, unknown = one.scores["**ours**"][one.known], one.scores["**ours**"][~one.known]
        alike.append((unknown < np.quantile(score, refused)).mean())
        best.append(max(((unknown < at).mean() + (score >= at).mean()) / 2 for at in np.sort(score)))
    balanced = (caught + 1 - refused) / 2
    return [f"{100 * value:.1f}" for value in (refused, caught, np.mean(alike), balanced, np.mean(best))]


def report(
    name: str, graphs: Graphs, data: ImageDataset, features: Features, source: Source, shape: tuple[int, int, int]
) -> tuple[list[str], list[Measured], list[str]]:
    """Two rows, and what was measured between: the name, thresholds; and calibration. `shape`: ways, shots, episodes."""
    n_way, n_shot, episodes = shape
    data, features = with_enough(data, features, source, n_shot)
    n_way = min(n_way, len(data.class_names) // 2)
    protocol = EvaluationProtocol(
        n_way=2 * n_way,
        n_shot=n_shot,
        n_query=N_QUERY,
        episodes=episodes,
        support_files=source.support,
        query_files=source.query,
    )
    found = [measure(graphs, episode, features, n_way) for episode in draw_episodes(data, protocol)]
    row = [name, f"{n_way}-way {n_shot}-shot"]
    right = np.concatenate([one.right for one in found])
    errors = [calibration_error(np.concatenate([one.confidence[which] for one in found]), right) for which in (0, 1)]
    covered = [one.covered for one in found if one.covered is not None]
    shown = f"{100 * float(np.mean(covered)):.0f}" if covered else "-"
    return [*row, *thresholds(found)], found, [*row, *(f"{error:.3f}" for error in errors), shown]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What classifiers know about themselves.")
    parser.add_argument("model", help="A bundle's path or name.")
    parser.add_argument("data", nargs="+", type=Source.parse, help="Folders or zips with one sub-folder a class.")
    parser.add_argument("--ways", nargs="+", type=int, default=[5])
    parser.add_argument("--shots", nargs="+", type=int, default=[1, 5])
    parser.add_argument("--episodes", type=int, default=600)
    arguments = parser.parse_args()
    with_one_thread()
    graphs = load_model(arguments.model, provider="cpu", threads=1).graphs
    print(machine("onnxruntime", "numpy"), "\n")
    refusals, areas, errors = [], [], []
    for source in arguments.data:
        data, name = source.load(graphs.manifest.preprocessing), Path(source.path).stem
        features = embed_dataset(graphs, data, graphs.manifest.support_views)
        for n_way in arguments.ways:
            for n_shot in arguments.shots:
                shape = n_way, n_shot, arguments.episodes
                refusal, found, error = report(name, graphs, data, features, source, shape)
                refusals.append(refusal)
                errors.append(error)
                areas.append((f"{name} {refusal[1]}", areas_of(found)))
    print_tables(areas, refusals, errors)


def areas_of(found: Sequence[Measured]) -> dict[str, float]:
    """The mean AUROC over episodes, in percent, by score."""
    return {
        name: 100 * float(np.mean([auroc(one.scores[name], one.known) for one in found])) for name in found[0].scores
    }


def print_tables(
    areas: Sequence[tuple[str, dict[str, float]]], refusals: Sequence[list[str]], errors: Sequence[list[str]]
) -> None:
    """The three tables."""
    rows = [[name, *(f"{found[name]:.1f}" for _, found in areas)] for name in areas[0][1]]
    print("AUROC, percent.\n")
    print(table(["score", *(name for name, _ in areas)], rows), "\n")
    header = ["data", "episodes", "refused", "caught", "caught in hindsight", "balanced", "in hindsight"]
    print(f"Thresholds, percent; a share of {UNKNOWN_AT:g} of known images may be refused.\n")
    print(table(header, refusals), "\n")
    print("Expected calibration error, and percent of episodes whose accuracy is in the interval.\n")
    print(table(["data", "episodes", "without", "with temperature", "covered"], errors))


if __name__ == "__main__":
    main()
