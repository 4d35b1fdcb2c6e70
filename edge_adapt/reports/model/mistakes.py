"""What a report says about answers, as data: how far confidence can be trusted, what is taken for what, episodes to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_adapt.reports.model.accuracy import Answers, Step, Subject, work
from edge_adapt.runtime.classifier.estimate import wilson_interval
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol

BINS = 10
"""Bins of the reliability curve, of equal width."""

RANKS = {"easy": 0.05, "typical": 0.5, "hard": 0.99}
"""Which episodes are shown: those worse than so large a share of all."""

MOST_HARD = 10
"""Classes in the confusion matrix at most."""

SEARCH_WAYS = 50
"""Classes in an episode of the search for confusions at most: the more there are, the more often two of them meet."""


@dataclass(frozen=True)
class Bin:
    """Queries answered with a confidence in (low, high] (0 is in the first bin), and their means, 0 where there are none."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Reliability:
    """Confidence against accuracy (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Attributes:
        n_way, n_shot, episodes: where the answers come from.
        bins: of equal width, from 0 to 1.
        error: the expected calibration error: the mean over queries of |accuracy - confidence| of their bin.
        confidence, accuracy: the means over all queries.
    """

    n_way: int
    n_shot: int
    episodes: int
    bins: tuple[Bin, ...]
    error: float
    confidence: float
    accuracy: float


def reliability(answers: Sequence[Answers], n_way: int, n_shot: int) -> Reliability:
    """Sort the answers of one or more episodes into bins by their confidence."""
    confidence = np.concatenate([answer.confidence for answer in answers])
    right = np.concatenate([answer.right for answer in answers]).astype(np.float64)
    place = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    confidences = np.bincount(place, confidence, BINS) / np.maximum(counts, 1)
    accuracies = np.bincount(place, right, BINS) / np.maximum(counts, 1)
    bins = tuple(
        Bin(index / BINS, (index + 1) / BINS, int(counts[index]), float(confidences[index]), float(accuracies[index]))
        for index in range(BINS)
    )
    error = float((counts * np.abs(accuracies - confidences)).sum() / counts.sum())
    return Reliability(n_way, n_shot, len(answers), bins, error, float(confidence.mean()), float(right.mean()))


@dataclass(frozen=True, eq=False)
class Example:
    """An episode to look at: "easy", "typical" or "hard", and the share of all episodes that went better."""

    kind: str
    better: float
    answers: Answers


def examples(answers: Sequence[Answers]) -> tuple[Example, ...]:
    """Episodes by their accuracy; among equals by the mean probability of the right answer. Fewer where there are fewer."""

    def quality(answer: Answers) -> tuple[float, float]:
        labels = answer.episode.query_labels
        return float(answer.right.mean()), float(answer.probabilities[np.arange(len(labels)), labels].mean())

    ordered = sorted(answers, key=quality, reverse=True)
    chosen = {round(rank * (len(ordered) - 1)): kind for kind, rank in RANKS.items()}
    return tuple(Example(kind, index / len(ordered), ordered[index]) for index, kind in chosen.items())


@dataclass(frozen=True)
class Pair:
    """Of `asked` queries of class `label` in episodes where class `predicted` was a choice, `taken` were taken for it."""

    label: int
    predicted: int
    taken: int
    asked: int

    @property
    def at_least(self) -> float:
        """The lower end of the share's 95% interval: a slip at a single meeting is not yet a confusion."""
        return wilson_interval(self.taken, self.asked)[0]


def confused_pairs(answers: Sequence[Answers], data: ImageDataset) -> list[Pair]:
    """Every confusion that happened, the surest first, each counted against the queries where it could have happened."""
    count = len(data.class_names)
    present = np.zeros((count, len(answers)), np.int64)
    asked = np.zeros((count, len(answers)), np.int64)
    confused: list[NDArray[np.int64]] = []
    for index, answer in enumerate(answers):
        classes, labels, wrong = answer.classes(data), answer.episode.query_labels, ~answer.right
        present[classes, index] = 1
        asked[classes, index] = np.bincount(labels, minlength=len(classes))
        confused.append(np.stack([classes[labels[wrong]], classes[answer.predicted[wrong]]]))
    distinct, times = np.unique(np.concatenate(confused, axis=1), axis=1, return_counts=True)
    pairs = [
        Pair(int(label), int(predicted), int(taken), int(asked[label] @ present[predicted]))
        for label, predicted, taken in zip(*distinct, times, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-pair.at_least, pair.label, pair.predicted))


@dataclass(frozen=True, eq=False)
class Confusions:
    """The classes that are confused most, among themselves.

    Attributes:
        searched_way, searched_shot, episodes: the episodes of all classes in which they were found.
        classes: the index in the data set of each, int64 [K]; neighbours are confused. Empty: no confusion at all.
        shares: float64 [K, K]: of the queries of the class of a row, the share taken for the class of a column. From as many
            episodes of these K classes alone.
    """

    searched_way: int
    searched_shot: int
    episodes: int
    classes: NDArray[np.int64]
    shares: NDArray[np.float64]


def confusions(subject: Subject, n_shot: int, done: Step) -> Confusions:
    """Search all classes for those that are confused most, and measure these among themselves.

    How often two classes meet in random episodes is chance, and the worst of many noisy counts look worse than they are. So the
    search counts a confusion against the queries where it could have happened, and the matrix comes from other episodes, in which
    all of its classes are present.
    """
    protocol = search_protocol(subject, n_shot)
    n_way, episodes = protocol.n_way, protocol.episodes
    answers = []
    for answer in subject.answers(n_way, n_shot, episodes):
        answers.append(answer)
        done(work(protocol) / episodes)
    data = subject.data
    most = min(MOST_HARD, n_way)
    everything = np.arange(len(data.class_names))
    hardest = everything if len(everything) <= most else _hardest(confused_pairs(answers, data), most)
    if not len(hardest):
        return Confusions(n_way, n_shot, episodes, hardest, np.empty((0, 0)))
    return Confusions(n_way, n_shot, episodes, hardest, shares_among(subject, hardest, n_shot, episodes))


def search_protocol(subject: Subject, n_shot: int) -> EvaluationProtocol:
    """The episodes of the search for confusions: few, for they have many classes."""
    most = subject.card.max_support
    n_way = min(subject.most_ways, SEARCH_WAYS, SEARCH_WAYS if most is None else most // n_shot)
    return subject.protocol(n_way, n_shot, episodes=max(1, subject.sampling.episodes // 3))


def _hardest(pairs: Sequence[Pair], most: int) -> NDArray[np.int64]:
    """The classes of the surest confusions, pair by pair."""
    chosen: dict[int, None] = {}
    for pair in pairs:
        together = chosen | dict.fromkeys((pair.label, pair.predicted))
        if len(together) <= most:
            chosen = together
    return np.array(list(chosen), np.int64)


def shares_among(subject: Subject, classes: NDArray[np.int64], n_shot: int, episodes: int) -> NDArray[np.float64]:
    """Of the queries of each of K classes, the share taken for each, over episodes of all these classes and no others: [K, K]."""
    data = subject.data
    images = np.concatenate([np.arange(data.starts[c], data.starts[c + 1]) for c in classes])
    part = ImageDataset(
        data.source,
        np.zeros((len(images), 1, 1, 1), np.uint8),  # the features are there, so nothing looks at the pixels
        tuple(data.class_names[c] for c in classes),
        np.cumsum([0, *data.counts[classes]], dtype=np.int64),
        tuple(data.files[image] for image in images) if data.files else (),
    )
    # Other episodes than those of the search, which found these classes the worst.
    sampling = replace(subject.sampling, seed=subject.sampling.seed + 1)
    among = replace(subject, data=part, features=subject.features.of(images), sampling=sampling)
    counts = np.zeros((len(classes), len(classes)))
    for answer in among.answers(len(classes), n_shot, episodes):
        labels = answer.classes(part)
        np.add.at(counts, (labels[answer.episode.query_labels], labels[answer.predicted]), 1)
    shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares
