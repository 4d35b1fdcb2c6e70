"""A model adapted to classes of yours: what it was adapted to, and what it says of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle.bundle import Adaptation, SelfKnowledge
from edge_adapt.runtime.bundle.history_json import History
from edge_adapt.runtime.classifier.adapted import Adapted
from edge_adapt.runtime.classifier.estimate import Estimate, estimate
from edge_adapt.runtime.classifier.leave_one_out import LeaveOneOut, leave_one_out
from edge_adapt.runtime.classifier.limits import check_classes, checked_steps
from edge_adapt.runtime.classifier.prediction import Prediction, probabilities
from edge_adapt.runtime.classifier.rejection import UNKNOWN_AT, Likeness, familiarity
from edge_adapt.runtime.classifier.self_knowledge import self_knowledge
from edge_adapt.runtime.classifier.support import OTHER, SupportSet
from edge_adapt.runtime.errors import BundleError, DataError, EdgeAdaptError
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs
from edge_adapt.runtime.images.images import ImageSource, UnreadImage, named
from edge_adapt.runtime.words import plural

if TYPE_CHECKING:
    from typing import SupportsIndex


class Classifier(Adapted):
    """A model adapted to classes of yours; `MetaModel.adapt` makes one, and `load` opens one that was saved."""

    def __repr__(self) -> str:
        return f"<Classifier of {self.manifest.name!r}: {', '.join(self.labels[:5])}{', ...' * (len(self.labels) > 5)}>"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of its classes, in the order of the logits."""
        return self.graphs.bundle.labels() if self._learned is None else self._learned.labels

    @cached_property
    def adaptation(self) -> Adaptation:
        """Shots, support loss, leave-one-out estimate and support features; read or estimated when first asked for."""
        if self._learned is None:
            return self.graphs.bundle.adaptation()
        return replace(self._learned, leave_one_out=self.left_out.accuracy, self_knowledge=self.self_knowledge)

    @cached_property
    def left_out(self) -> LeaveOneOut:
        """What it says of its shots when they are left out."""
        support = self.support
        return leave_one_out(self.graphs, support.features, support.targets, len(support.labels), self.steps)

    @cached_property
    def self_knowledge(self) -> SelfKnowledge | None:
        """Its temperature, and the scores of images of its classes; read or estimated when first asked for."""
        priors = self.manifest.priors
        if priors is None or self._learned is None:
            return None if priors is None else self.graphs.bundle.record.self_knowledge
        support = self.support
        logits = self.graphs.predict(support.features, self._state)
        return self_knowledge(support.features, support.targets, support.others, logits, self.left_out, priors)

    @cached_property
    def likeness(self) -> Likeness | None:
        """What scores images by how much they look like one of the classes; None for a model without priors."""
        known = self.self_knowledge
        shots = self.support
        return None if known is None else Likeness.of(shots.features, shots.targets, known.own_logit, shots.others)

    @cached_property
    def estimate(self) -> Estimate | None:
        """The accuracy to expect; None where no class has two shots."""
        return estimate(self.left_out, self.counts)

    @property
    def counts(self) -> dict[str, int]:
        """How many images each class has."""
        return {label: count for label, count in self.support.counts.items() if label != OTHER}

    # Edits: each gives a new classifier, that of adapting once to the support set as it is then

    def add(self, label: str, images: Iterable[ImageSource], *, bgr: bool = False) -> Classifier:
        """With images of a class, old or new, or of no class (`OTHER`); one that the class has already is not taken twice.

        Args:
            label, images: the class, and its images; see `ImageSource`.
            bgr: as of `classify`.

        Raises:
            ImageError: an image cannot be read, or is no array where `bgr` is said.
            DataError: the class has all of them already, or the model does not take so many classes or images.
        """
        return self.add_unread(label, _numbered(images, bgr))

    def add_unread(self, label: str, images: Iterable[UnreadImage]) -> Classifier:
        """`add` of files."""
        return self.add_embedded(label, self._embedded(images))

    def add_embedded(self, label: str, images: Sequence[EmbeddedImage]) -> Classifier:
        """`add` of images that are embedded already, as shots."""
        return self._edited(f"add {label}: {plural(len(images), 'image')}", self.support.add(label, images))

    def adapt_embedded(self, images: Mapping[str, Sequence[EmbeddedImage]]) -> Classifier:
        """Adapted to other classes alone, of images that are embedded already, as shots; to be undone as any edit.

        Raises:
            DataError: fewer than two classes, or more than the model takes.
        """
        support = SupportSet.of_classes(images)
        many = plural(len(support.labels), "class", "classes")
        return self._edited(f"adapt: {plural(len(support.images), 'image')}, {many}", support)

    def remove(self, label: str, *names: str) -> Classifier:
        """Without a class, or without those of its images that are named so, or whose SHA-256 begins so.

        Raises:
            DataError: there is no such class or image, or fewer than two classes are left.
        """
        return self._edited(f"remove {', '.join((label, *names))}", self.support.remove(label, names))

    def rename(self, label: str, name: str) -> Classifier:
        """With another name for a class. Raises DataError where there is no such class, or one of that name."""
        return self._edited(f"rename {label} to {name}", self.support.rename(label, name))

    def merge(self, labels: Sequence[str], into: str) -> Classifier:
        """With the images of several classes in one. Raises DataError where one of them is not there, or too few are left."""
        return self._edited(f"merge {', '.join(labels)} into {into}", self.support.merge(labels, into))

    def correct(
        self, image: ImageSource, label: str | None = None, *, never: str | None = None, bgr: bool = False
    ) -> Classifier:
        """Learn from a mistake.

        Args:
            image: what was classified wrong.
            label: its class, or `OTHER` for none: it becomes an image of that class, and of no other.
            never: instead, a class that it is not: it leaves that class if it is one of its images, and else becomes a photo of
                no class.
            bgr: as of `classify`.

        Raises:
            ImageError: the image cannot be read, or is no array where `bgr` is said.
            DataError: it is an image of the class already.
            EdgeAdaptError: neither a class is given nor one that it is not, or both.
        """
        if (label is None) == (never is None):
            raise EdgeAdaptError("a correction takes either the class of the image, or one that it is not.")
        if label is None and never not in self.labels:
            raise DataError(f"there is no class {never!r}; there are {', '.join(self.labels)}.")
        return self.correct_embedded(self._embedded([named(image, bgr=bgr)])[0], label, never=never)

    def correct_embedded(
        self, shot: EmbeddedImage, label: str | None = None, *, never: str | None = None
    ) -> Classifier:
        """`correct` of an image that is embedded already, as a shot."""
        if never is not None and any(
            known.sha256 == shot.sha256 and known.label == never for known in self.support.images
        ):
            return self.remove(never, shot.sha256)
        what = f"correct {shot.name}: {label}" if label else f"correct {shot.name}: not {never}"
        return self._edited(what, self.support.correct(shot, label or OTHER))

    def _with(self, history: History, support: SupportSet) -> Classifier:
        check_classes(self.graphs, {label: count for label, count in support.counts.items() if label != OTHER})
        return adapt(self.graphs, support, self.steps if self.graphs.takes_steps else 0, history)

    def classify(self, image: ImageSource, *, unknown_at: float = UNKNOWN_AT, bgr: bool = False) -> Prediction:
        """Classify one image.

        Args:
            image: see `ImageSource`.
            unknown_at: the share of images of the classes that may be taken for unknown; 0: every image is known.
            bgr: it is an array whose channels are blue, green, red, as OpenCV gives them.

        Raises:
            ImageError: the image cannot be read, or is no array where `bgr` is said.
        """
        return self.classify_embedded(self.graphs.embed_image(named(image, bgr=bgr)), unknown_at=unknown_at)

    def classify_all(
        self, images: Iterable[ImageSource], *, unknown_at: float = UNKNOWN_AT, bgr: bool = False
    ) -> list[Prediction | EdgeAdaptError]:
        """Classify several images, each as if it were alone; in place of one that cannot be read stands the error.

        Args:
            images: see `ImageSource`.
            unknown_at, bgr: as of `classify`.
        """
        return [
            image if isinstance(image, EdgeAdaptError) else self.classify_embedded(image, unknown_at=unknown_at)
            for image in self.graphs.embed_all(_numbered(images, bgr))
        ]

    def classify_embedded(self, image: EmbeddedImage, *, unknown_at: float = UNKNOWN_AT) -> Prediction:
        """`classify` on an image that is embedded already."""
        logits = self.graphs.predict(image.features[None], self._state)[0].astype(np.float64)
        if logits.shape != (len(self.labels),) or not np.isfinite(logits).all():
            raise BundleError(
                f"{self.graphs.bundle.path}: predict.onnx gives no finite logits for {len(self.labels)} classes."
            )
        known = self.self_knowledge
        scores = probabilities(self.labels, logits, known.temperature if known else 1)
        label = next(iter(scores))
        if not (unknown_at and known and self.likeness):
            return Prediction(label, scores[label], scores)
        score = float(self.likeness.scores(image.features[None], logits[None])[0])
        familiar = familiarity(score, known.score, known.score_spread)
        return Prediction(label, scores[label], scores, familiar >= unknown_at, familiar)


def adapt(
    graphs: Graphs, support: SupportSet, steps: SupportsIndex | None = None, history: History | None = None
) -> Classifier:
    """The classifier of a support set. It follows from the shots alone: neither their order nor what was learned before counts.

    Args:
        graphs: of the model.
        support: the shots.
        steps: gradient steps; None takes the model's own number.
        history: the edits that led to the support set.

    Raises:
        DataError: so many steps, or such images, that the adaptation diverges.
        EdgeAdaptError: a number of steps that is not whole, is below 0 or above `MAX_STEPS`, or is above 0 for a model that takes
            no steps.
    """
    count = checked_steps(graphs, steps)
    state, losses = graphs.adapt(support.features, support.targets, len(support.labels), count)
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise DataError(f"the adaptation diverged ({name!r} is not finite after {count} steps); take fewer steps.")
    learned = Adaptation(
        labels=support.labels,
        shots=support.shots,
        steps=count,
        losses=tuple(float(loss) for loss in losses),
        leave_one_out=None,
        head_state=state,
        support_features=support.all_features,
        support_targets=np.array([shot.label for shot in support.shots], np.int64),
    )
    return Classifier(graphs, state, learned, history or History())


def _numbered(images: Iterable[ImageSource], bgr: bool) -> Iterator[UnreadImage]:
    """To be read later; messages call what has no path by its number."""
    return (named(image, f"image {number}", bgr) for number, image in enumerate(images, 1))
