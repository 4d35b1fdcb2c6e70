"""Accuracy over episodes for a report, as data: by way and shot, by the number of steps, and the answers themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.bundle.card import ModelCard
from edge_adapt.runtime.classifier.limits import MAX_WAYS
from edge_adapt.runtime.contract import EpisodeModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import Episode, EvaluationProtocol, Sampling, draw_episodes
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.evaluation import Evaluation, Features, evaluate_episodes

WAYS, SHOTS, STEPS = (2, 5, 10, 20, 50), (1, 2, 5, 10, 20), (0, 1, 2, 5, 10, 20, 50, 100)
"""What is measured where the data allow it."""

N_QUERY = 15
"""Query images of a class, at most, as the literature takes them."""

LEAST_EPISODES = 20
"""Episodes of a figure, however many classes they have, unless fewer are asked for."""


@dataclass(frozen=True, eq=False)
class Subject:
    """What is measured, and how episodes are drawn.

    Attributes:
        model: what adapts and predicts.
        card: what it says of itself.
        data: the images and their classes.
        features: of every image.
        sampling: of the episodes for a figure; `protocol` says how many there are of many classes.
        takes_steps: whether the model's `adapt` has an inner loop.
    """

    model: EpisodeModel
    card: ModelCard
    data: ImageDataset
    features: Features
    sampling: Sampling
    takes_steps: bool

    @property
    def most_ways(self) -> int:
        """Classes in an episode at most."""
        return min(len(self.data.class_names), self.card.max_ways or MAX_WAYS, MAX_WAYS)

    def protocol(
        self, n_way: int, n_shot: int, *, episodes: int | None = None, steps: int | None = None
    ) -> EvaluationProtocol:
        """Over which episodes a figure is measured: beyond five ways fewer, so that each rests on as many queries."""
        most = self.sampling.episodes
        return EvaluationProtocol(
            n_way=n_way,
            n_shot=n_shot,
            n_query=N_QUERY,
            steps=self.card.default_steps if steps is None else steps,
            **vars(self.sampling) | {"episodes": episodes or min(most, max(most * 5 // n_way, LEAST_EPISODES))},
        )

    def why_not(self, n_way: int, n_shot: int) -> str:
        """Why there are no such episodes, as the end of a sentence; empty where there are."""
        most_support = self.card.max_support
        if n_way > self.most_ways:
            return f"the model takes at most {self.most_ways} classes"
        if most_support is not None and n_way * n_shot > most_support:
            return f"the model takes at most {most_support} support images"
        try:
            draw_episodes(self.data, self.protocol(n_way, n_shot))
        except DataError as error:  # its remedy, behind the semicolon, is for the command `evaluate`
            return str(error).removeprefix(f"{self.data.source}: ").partition(";")[0]
        return ""

    def accuracy(self, n_way: int, n_shot: int, steps: int | None = None) -> Evaluation:
        """What `edge-adapt evaluate` gives for the same protocol."""
        protocol = self.protocol(n_way, n_shot, steps=steps)
        return evaluate_episodes(self.model, self.data, protocol, features=self.features)

    def answers(self, n_way: int, n_shot: int, episodes: int | None = None) -> Iterator[Answers]:
        """The episodes that `accuracy` averages over, or so many of their kind, with the answers to each."""
        for episode in draw_episodes(self.data, self.protocol(n_way, n_shot, episodes=episodes)):
            support = self.features.shots[episode.support]
            state, _ = self.model.adapt(support, episode.support_labels, n_way, self.card.default_steps)
            logits = self.model.predict(self.features.queries[episode.query], state).astype(np.float64)
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            yield Answers(episode, exponentials / exponentials.sum(axis=1, keepdims=True))


@dataclass(frozen=True, eq=False)
class Answers:
    """An episode and what was answered: the probability of every class for every query, float64 [Q, N]."""

    episode: Episode
    probabilities: NDArray[np.float64]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The answers, int64 [Q] in 0..N-1."""
        answers: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return answers

    @property
    def confidence(self) -> NDArray[np.float64]:
        """The probability of each answer, [Q]."""
        highest: NDArray[np.float64] = self.probabilities.max(axis=1)
        return highest

    @property
    def right(self) -> NDArray[np.bool_]:
        """Which answers are right, [Q]."""
        right: NDArray[np.bool_] = self.predicted == self.episode.query_labels
        return right

    def classes(self, data: ImageDataset) -> NDArray[np.int64]:
        """Which class of the data set each label stands for, int64 [N]."""
        _, first = np.unique(self.episode.support_labels, return_index=True)
        classes: NDArray[np.int64] = np.searchsorted(data.starts, self.episode.support[first], side="right") - 1
        return classes


@dataclass(frozen=True)
class AccuracyTable:
    """Accuracy by way and shot.

    Attributes:
        ways, shots: of the rows and the columns.
        cells: (way, shot) -> what was measured; a cell that cannot be measured is missing.
        omitted: what was left out, each with the reason, as sentences.
    """

    ways: tuple[int, ...]
    shots: tuple[int, ...]
    cells: dict[tuple[int, int], Evaluation]
    omitted: tuple[str, ...]


Step = Callable[[float], object]
"""Is called with the work that has just been done, in the unit of `work`."""


def work(protocol: EvaluationProtocol) -> float:
    """How long episodes take, in a unit of its own."""
    images = protocol.n_way * (protocol.n_shot + protocol.n_query)
    return protocol.episodes * protocol.n_way * images * (1 + (protocol.steps or 0) / 10)


def ways_and_shots(subject: Subject) -> tuple[list[int], list[int], list[str]]:
    """The ways and shots of which there are episodes, and a sentence for each that is left out.

    All classes together are a way of their own, unless they are hardly more than one of WAYS or more than a model takes.
    """
    count, most = len(subject.data.class_names), subject.most_ways
    ways = [way for way in WAYS if way <= most]
    if ways and count == most and count >= 1.25 * ways[-1]:
        ways.append(count)
    omitted = []
    if missing := [way for way in WAYS if way > most]:
        reason = f"there are {count} classes" if most == count else f"the model takes at most {most} classes"
        omitted.append(f"No {_numbers(missing)} ways: {reason}.")
    shots: list[int] = []
    for shot in SHOTS:
        if not (reason := subject.why_not(min(2, most), shot)):
            shots.append(shot)
        else:
            omitted.append(f"No {_numbers([other for other in SHOTS if other >= shot])} shots: {reason}.")
            break
    return ways, shots, omitted


def accuracy_table(subject: Subject, ways: Sequence[int], shots: Sequence[int], done: Step) -> AccuracyTable:
    """Measure every combination."""
    cells, omitted = {}, []
    for way in ways:
        for shot in shots:
            if reason := subject.why_not(way, shot):
                omitted.append(f"No {way}-way {shot}-shot: {reason}.")
            else:
                cells[way, shot] = subject.accuracy(way, shot)
            done(work(subject.protocol(way, shot)))
    return AccuracyTable(tuple(ways), tuple(shots), cells, tuple(omitted))


@dataclass(frozen=True)
class StepsCurve:
    """Accuracy by the number of steps, over the same episodes: (shot, steps) -> what was measured.

    `steps` is empty for a method that takes none.
    """

    n_way: int
    shots: tuple[int, ...]
    steps: tuple[int, ...]
    cells: dict[tuple[int, int], Evaluation]


def step_counts(subject: Subject) -> list[int]:
    """Every number of STEPS and the model's own; none for a method without steps."""
    return sorted({*STEPS, subject.card.default_steps}) if subject.takes_steps else []


def steps_curve(subject: Subject, n_way: int, shots: Sequence[int], done: Step) -> StepsCurve:
    """Measure every one of `step_counts`."""
    steps, cells = step_counts(subject), {}
    for shot in shots:
        for count in steps:
            cells[shot, count] = subject.accuracy(n_way, shot, count)
            done(work(subject.protocol(n_way, shot, steps=count)))
    return StepsCurve(n_way, tuple(shots), tuple(steps), cells)


def _numbers(values: Sequence[int]) -> str:
    """ "1, 2 or 5"."""
    texts = [str(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"
