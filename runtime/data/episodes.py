"""Episodes, drawn from a data set with NumPy alone, so that `evaluate` runs on a device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError


@dataclass(frozen=True)
class Episode:
    """Indices into a data set: what to learn from and what to be asked.

    Attributes:
        support: int64 [M], the support set.
        support_labels: int64 [M] in 0..n_way-1.
        query: int64 [Q], the query set; no image is in both.
        query_labels: int64 [Q].
    """

    support: NDArray[np.int64]
    support_labels: NDArray[np.int64]
    query: NDArray[np.int64]
    query_labels: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How many episodes are drawn, and from which files.

    Attributes:
        episodes: how many.
        seed: the same seed draws the same episodes.
        support_files: draw support images among the files whose own name, without folders, matches this pattern, such as
            "train_*" (`fnmatch`: * is anything, ? one character, [ab] one of these; capitals count); None: all.
        query_files: likewise for the queries.

    Raises:
        EdgeAdaptError: a number that cannot be; names the field.
    """

    episodes: int = 1000
    seed: int = 0
    support_files: str | None = None
    query_files: str | None = None

    def __post_init__(self) -> None:
        self._require_at_least(episodes=1, seed=0)

    def _require_at_least(self, **least: int) -> None:
        for name, smallest in least.items():
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise EdgeAdaptError(f"{name} is {value}; take {smallest} or more.")


@dataclass(frozen=True, kw_only=True)
class EvaluationProtocol(Sampling):
    """Over which episodes a model is measured, and with how many steps.

    Attributes:
        n_way: classes in an episode.
        n_shot: support images of a class.
        n_query: queries of a class at most; one with fewer images than `n_shot + n_query` gives fewer.
        steps: of the inner loop; None takes the model's own number.

    Raises:
        EdgeAdaptError: a number that no episode can have; names the field.
    """

    n_way: int = 5
    n_shot: int = 1
    n_query: int = 15
    steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_at_least(n_way=2, n_shot=1, n_query=1, steps=0)
        if self.steps is not None and self.steps > MAX_STEPS:
            raise EdgeAdaptError(f"steps is {self.steps}; take {MAX_STEPS} or fewer.")


def draw_episodes(dataset: ImageDataset, protocol: EvaluationProtocol) -> Iterator[Episode]:
    """Draw evaluation episodes: `n_way` classes, then `n_shot` support images of each and as many as `n_query` of the rest.

    The same arguments draw the same episodes.

    Raises:
        DataError: too few classes, a class with too few images for the support set or none left for a query, or patterns for
            images that come from no files. Raised at once, not when the first episode is taken.
    """
    n_way, n_shot = protocol.n_way, protocol.n_shot
    any_file = protocol.support_files is None and protocol.query_files is None
    dataset.require(n_way, n_shot + 1 if any_file else 0)
    for_support, for_query = _files_for(dataset, n_shot, protocol.support_files, protocol.query_files)

    def draw() -> Iterator[Episode]:
        random = np.random.default_rng(protocol.seed)
        counts = dataset.counts
        for _ in range(protocol.episodes):
            support, query, query_labels = [], [], []
            for label, chosen in enumerate(random.choice(len(counts), n_way, replace=False)):
                order = dataset.starts[chosen] + random.permutation(counts[chosen])
                taken = np.flatnonzero(for_support[order])[:n_shot]
                left = for_query[order]
                left[taken] = False
                support.append(order[taken])
                query.append(order[left][: protocol.n_query])
                query_labels.append(np.full(len(query[-1]), label, np.int64))
            labels = np.repeat(np.arange(n_way, dtype=np.int64), n_shot)
            yield Episode(np.concatenate(support), labels, np.concatenate(query), np.concatenate(query_labels))

    return draw()


def _matching(dataset: ImageDataset, pattern: str | None) -> NDArray[np.bool_]:
    """Which images have a file name that matches, bool [I]."""
    if pattern is None:
        return np.ones(len(dataset.images), np.bool_)
    if not dataset.files:
        raise DataError(
            f"{dataset.source}: the images come from no files, so no pattern of file names can choose them."
        )
    names = [name.rpartition("/")[2] for name in dataset.files]
    return np.array([fnmatchcase(name, pattern) for name in names], np.bool_)


def _files_for(
    dataset: ImageDataset, n_shot: int, support_files: str | None, query_files: str | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images may be support and which may be queries, bool [I] each.

    Raises:
        DataError: the first class that may lack a support image or a query, whatever is drawn.
    """
    for_support, for_query = _matching(dataset, support_files), _matching(dataset, query_files)
    for name, start, stop in zip(dataset.class_names, dataset.starts[:-1], dataset.starts[1:], strict=True):
        support, query = for_support[start:stop], for_query[start:stop]
        subject = f"{dataset.source}: class {name!r}"
        if support.sum() < n_shot:
            few = "images" if support_files is None else "files that --support-files matches"
            remedy = "add images" if support_files is None else "change the pattern"
            raise DataError(
                f"{subject} has {support.sum()} {few} where an episode takes {n_shot}; {remedy} or choose a smaller --shot."
            )
        if not query.any():
            raise DataError(
                f"{subject} has no file that --query-files matches; change the pattern or leave the class out."
            )
        if query.sum() <= min(n_shot, (support & query).sum()):
            if query_files is None:
                reason = f"an episode learns from all {n_shot} of its images; add images or choose a smaller --shot."
            elif support_files is None:
                reason = "any file that --query-files matches may be support; give --support-files that match others."
            else:
                reason = "--support-files matches all that --query-files matches; choose patterns that match different files."
            raise DataError(f"{subject} may have no query left, since {reason}")
    return for_support, for_query
