"""The support set of a classifier: immutable, and always in one order. An edit is a function from one to the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_adapt.runtime.bundle.classifier_json import NO_LABEL, Adaptation, Shot
from edge_adapt.runtime.bundle.history_json import SupportImage
from edge_adapt.runtime.bundle.strict_json import is_line
from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.graphs import EmbeddedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray

OTHER = "_other"
"""In place of a class, for photos of no class: nothing is adapted to them, and what looks like them is the sooner unknown."""

NO_CLASS = ""
"""In place of a class, in regression."""

NO_SHA256 = "0" * 64
"""Of an image of which nothing is to be said."""


@dataclass(frozen=True, eq=False)
class SupportSet:
    """What a classifier learns from: the features of the shots of each class, and of photos of no class.

    Classes are in the order of their names, and the shots of a class in that of SHA-256 and name, whatever order they came in.
    So equal shots give equal arrays, and adapting to them the same classifier, however the support set came about.

    Attributes:
        images: all of them, in that order; those of no class are the last.
    """

    images: tuple[SupportImage, ...]

    @classmethod
    def of(cls, images: Iterable[SupportImage]) -> SupportSet:
        """The support set of these images, in any order."""
        return cls(
            tuple(sorted(images, key=lambda image: (image.label == OTHER, image.label, image.sha256, image.name)))
        )

    @classmethod
    def of_classes(cls, images: Mapping[str, Sequence[EmbeddedImage]]) -> SupportSet:
        """The support set of embedded images by class."""
        return cls.of(_of_class(label, image) for label, of_label in images.items() for image in of_label)

    @classmethod
    def read(cls, adaptation: Adaptation) -> SupportSet:
        """The support set that a bundle holds."""
        labels = (*adaptation.labels, NO_CLASS if adaptation.targets else OTHER)
        values = adaptation.support_targets.tolist() if adaptation.targets else [()] * len(adaptation.shots)
        return cls.of(
            SupportImage(labels[shot.label], shot.name, shot.sha256, features, tuple(read))
            for shot, features, read in zip(adaptation.shots, adaptation.support_features, values, strict=True)
        )

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The names of the N classes."""
        return tuple(dict.fromkeys(image.label for image in self.images if image.label not in (OTHER, NO_CLASS)))

    @cached_property
    def shots(self) -> tuple[Shot, ...]:
        """Of all images: the index of the class (`NO_LABEL` for none), the name and the SHA-256."""
        index = {label: number for number, label in enumerate(self.labels)}
        return tuple(Shot(index.get(image.label, NO_LABEL), image.name, image.sha256) for image in self.images)

    @cached_property
    def all_features(self) -> NDArray[np.float32]:
        """Of all images, float32 [M + Q, D]."""
        return np.stack([image.features for image in self.images])

    @cached_property
    def targets(self) -> NDArray[Any]:
        """The index of the class of each of the M shots, int64 [M]; in regression what they read, float32 [M, T]."""
        if self.images and self.images[0].values:
            return np.array([image.values for image in self.images], np.float32)
        return np.array([shot.label for shot in self.shots if shot.label != NO_LABEL], np.int64)

    @property
    def features(self) -> NDArray[np.float32]:
        """Of the M shots, float32 [M, D]."""
        return self.all_features[: len(self.targets)]

    @property
    def others(self) -> NDArray[np.float32]:
        """Of the Q photos of no class, float32 [Q, D]."""
        return self.all_features[len(self.targets) :]

    @property
    def counts(self) -> dict[str, int]:
        """How many images each class has, and `OTHER` where there are photos of none."""
        return dict(Counter(image.label for image in self.images))

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        return f"<SupportSet: {len(self.labels)} classes, {len(self)} images>"

    def add(self, label: str, images: Iterable[EmbeddedImage]) -> SupportSet:
        """With these images of a class, old or new; one that the class has already is not taken twice."""
        known = {image.sha256 for image in self.images if image.label == label}
        fresh = {image.sha256: _of_class(label, image) for image in images if image.sha256 not in known}
        if not fresh:
            raise DataError(f"{label!r} has all of these images already; add others.")
        return SupportSet.of((*self.images, *fresh.values()))

    def add_readings(self, images: Iterable[EmbeddedImage], values: Sequence[tuple[float, ...]]) -> SupportSet:
        """With images that read so, in place of what is said of the same ones."""
        gained = {
            image.sha256: SupportImage(NO_CLASS, one_line(image.name), image.sha256, image.features, read)
            for image, read in zip(images, values, strict=True)
        }
        kept = (image for image in self.images if image.sha256 not in gained)
        return SupportSet.of((*kept, *gained.values()))

    def remove(self, label: str, names: Sequence[str] = ()) -> SupportSet:
        """Without a class, or without those of its images that are named so, or whose SHA-256 begins so."""
        of_label = self._of(label)
        gone = of_label if not names else []
        for name in names:
            found = [image for image in of_label if name == image.name or image.sha256.startswith(name or "-")]
            if not found:
                shown = ", ".join(image.name or image.sha256[:8] for image in of_label[:5])
                whose, others = (f"{label!r} has", "it has") if label else ("there is", "there are")
                raise DataError(f"{whose} no image {name!r}; {others} {shown}{', ...' * (len(of_label) > 5)}.")
            gone = [*gone, *found]
        return SupportSet(tuple(image for image in self.images if image not in gone))

    def rename(self, label: str, name: str) -> SupportSet:
        """With another name for a class."""
        self._of(label)
        if name in self.counts:
            raise DataError(f"there is a class {name!r} already; merge the two, or choose another name.")
        return self.merge([label], name)

    def merge(self, labels: Sequence[str], into: str) -> SupportSet:
        """With the images of all these classes in one."""
        for label in labels:
            self._of(label)
        return SupportSet.of(replace(image, label=into) if image.label in labels else image for image in self.images)

    def correct(self, image: EmbeddedImage, label: str) -> SupportSet:
        """With an image as one of a class (`OTHER`: of none), and of no other."""
        kept = [known for known in self.images if known.sha256 != image.sha256]
        if any(known.sha256 == image.sha256 and known.label == label for known in self.images):
            raise DataError(f"{image.name} is an image of {label!r} already.")
        return SupportSet.of((*kept, _of_class(label, image)))

    def _of(self, label: str) -> list[SupportImage]:
        found = [image for image in self.images if image.label == label]
        if not found:
            raise DataError(f"there is no class {label!r}; there are {', '.join(self.counts)}.")
        return found


def _of_class(label: str, image: EmbeddedImage) -> SupportImage:
    return SupportImage(label, one_line(image.name), image.sha256, image.features)


def one_line(name: str) -> str:
    """A file name as a bundle can hold it: a file system allows line breaks, a bundle does not."""
    return name if is_line(name) else "".join(character if is_line(character) else "?" for character in name)
