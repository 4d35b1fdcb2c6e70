"""What in a support set will cost accuracy, and which of its images are the reason."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut, leave_one_out
from edge_adapt.runtime.classifier.support import NO_SHA256, OTHER, SupportSet
from edge_adapt.runtime.words import plural

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_adapt.runtime.contract import EpisodeModel

SUSPECT = 4.0
"""A shot is a suspect where, without it and without other suspects, another class is so many times as probable as its own. Of 50
shots of GroceryStore with 5 wrong labels it finds 91%, and 97% of those are wrong; 2 has 97% and 92%, 8 has 83% and 98%."""

ALIKE, ALIKE_CENTRED = 0.97, 0.93
"""Cosines of two images' features, and of these less the support set's mean, from which on the two are near duplicates: copies,
mirror images and slightly other crops have more, and of photos of one class taken one after the other one in twenty."""

CONFUSED = 0.2
"""Of the answers to a class's shots, the share that goes to one other class, from which on the two will be confused."""

TOO_MANY = 3
"""Times the median number of photos of a class; a class with more outweighs others."""

KINDS = (
    "duplicate across classes",
    "mislabelled",
    "does not fit",
    "few",
    "confused",
    "small",
    "dark",
    "blurred",
    "many",
    "duplicate",
)
"""What there is to find, the worst first."""


@dataclass(frozen=True)
class Finding:
    """Something that will cost accuracy.

    Attributes:
        kind: one of `KINDS`.
        text: what it is and what to do, one line.
        classes: the classes that it is about; of a suspect, its own and the one that it looks like; in regression the value.
        images: the names of the images that it is about, those at fault first.
    """

    kind: str
    text: str
    classes: tuple[str, ...]
    images: tuple[str, ...] = ()


def check_support(
    model: EpisodeModel, support: SupportSet, steps: int, left_out: LeaveOneOut | None = None
) -> list[Finding]:
    """What the features of a support set say against it, the worst first.

    Args:
        model: what adapts.
        support: the shots.
        steps: of the inner loop.
        left_out: what it says of its shots when they are left out, if that is known already; the suspects are among these. None
            leaves out every shot.
    """
    task = (support.features, support.targets, len(support.labels), steps)
    found = left_out_again(model, *task, left_out or leave_one_out(model, *task, most=len(support)))
    return ordered(
        chain(_mislabelled(support, found), _confused(support, found), _counts(support.counts), _duplicates(support))
    )


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Findings, the worst first."""
    return sorted(findings, key=lambda finding: KINDS.index(finding.kind))


def suspects(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each shot, from its logits [F, N] without it, looks mislabelled, bool [F]."""
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    return np.asarray(others.max(axis=1) - logits[rows, labels] > np.log(SUSPECT))


def left_out_again(
    model: EpisodeModel,
    features: NDArray[np.float32],
    labels: NDArray[np.int64],
    n_way: int,
    steps: int,
    first: LeaveOneOut,
) -> LeaveOneOut:
    """`leave_one_out` once more: what is wrong at first teaches nothing the second time, if classes can spare it."""
    doubtful = first.folds[~first.right]
    is_sound = np.ones(len(labels), np.bool_)
    is_sound[doubtful] = False
    sound = np.flatnonzero(is_sound)
    if not len(doubtful) or len(set(labels[sound].tolist())) < n_way:
        return first
    logits = np.empty_like(first.logits)
    for row, shot in zip(logits, first.folds, strict=True):
        kept = sound[sound != shot]
        if np.bincount(labels[kept], minlength=n_way).min() == 0:
            kept = np.flatnonzero(np.arange(len(labels)) != shot)
        state, _ = model.adapt(features[kept], labels[kept], n_way, steps)
        row[:] = model.predict(features[shot : shot + 1], state)[0]
    return LeaveOneOut(first.folds, first.labels, logits)


def _mislabelled(support: SupportSet, found: LeaveOneOut) -> Iterable[Finding]:
    wrong = np.flatnonzero(suspects(found.logits, found.labels))
    surest = wrong[np.argsort(found.log_probabilities[wrong], kind="stable")]
    for index in surest:
        image = support.images[found.folds[index]]
        looks = support.labels[int(found.logits[index].argmax())]
        text = f"{_shown(image.name, image.sha256)} is labelled {image.label} and looks like {looks}"
        yield Finding("mislabelled", text, (image.label, looks), (image.name,))


def _confused(support: SupportSet, found: LeaveOneOut) -> Iterable[Finding]:
    """Of pairs of classes with two images or more, those of which more than `CONFUSED` of one's answers are the other."""
    n_way = len(support.labels)
    shifted = np.exp(found.logits - found.logits.max(axis=1, keepdims=True))
    answers = np.zeros((n_way, n_way))
    np.add.at(answers, found.labels, shifted / shifted.sum(axis=1, keepdims=True))
    answers /= np.maximum(np.bincount(found.labels, minlength=n_way), 1)[:, None]
    shares = np.maximum(answers, answers.T)
    pairs = np.argwhere(np.triu(shares, 1) > CONFUSED)
    for first, second in pairs[np.argsort(-shares[pairs[:, 0], pairs[:, 1]], kind="stable")].tolist():
        pair = support.labels[first], support.labels[second]
        text = f"{pair[0]} and {pair[1]} will be confused ({shares[first, second]:.0%} of the answers); more photos of both help"
        yield Finding("confused", text, pair)


def _counts(counts: dict[str, int]) -> Iterable[Finding]:
    classes = {label: count for label, count in counts.items() if label != OTHER}
    median = float(np.median(list(classes.values())))
    for label, count in classes.items():
        if count == 1:
            yield Finding("few", f"{label} has a single photo; add 3 or more", (label,))
        elif count > TOO_MANY * median:
            text = f"{label} has {count} photos, and half of the classes have {median:g} or fewer; add photos of the others"
            yield Finding("many", text, (label,))


def _duplicates(support: SupportSet) -> Iterable[Finding]:
    """Groups of images that are all but one, each named once."""
    shots = support.images[: len(support)]
    alike = _alike(support.features) | _equal([image.sha256 for image in shots])
    left = set(range(len(shots)))
    for index in range(len(shots)):
        group = sorted(left & set(np.flatnonzero(alike[index]).tolist()) | {index}) if index in left else []
        if len(group) < 2:
            continue
        left -= set(group)
        classes = tuple(dict.fromkeys(shots[member].label for member in group))
        names = tuple(shots[member].name for member in group)
        shown = ", ".join(_shown(shots[member].name, shots[member].sha256) for member in group[:4])
        shown += f" and {len(group) - 4} more" if len(group) > 4 else ""
        if len(classes) > 1:
            text = f"{shown} are all but one photo, and labelled {' and '.join(classes)}; keep it in one class"
            yield Finding("duplicate across classes", text, classes, names)
        else:
            text = f"{shown} of {classes[0]} are all but one photo, and count as {plural(len(group), 'photo')}"
            yield Finding("duplicate", text, classes, names)


def _alike(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    raw, centred = _cosines(features), _cosines(features - features.mean(axis=0))
    return np.asarray((raw > ALIKE) & (centred > ALIKE_CENTRED))


def _cosines(features: NDArray[np.float32]) -> NDArray[np.float32]:
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return np.asarray(unit @ unit.T, np.float32)


def _equal(sha256s: Sequence[str]) -> NDArray[np.bool_]:
    known = np.array(sha256s)
    return np.asarray((known[:, None] == known) & (known != NO_SHA256))


def _shown(name: str, sha256: str) -> str:
    return name or sha256[:8]
