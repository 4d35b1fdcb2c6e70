"""The support set of a classifier: immutable, and always in one order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.bundle.classifier_json import Adaptation, Shot
from edge_adapt.runtime.bundle.strict_json import is_line
from edge_adapt.runtime.graphs import EmbeddedImage

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class SupportSet:
    """What a classifier learns from: the features of the shots of each class.

    Classes are in the order of their names, and the shots of a class in that of SHA-256 and name, whatever order they came in.
    So equal shots give equal arrays, and adapting to them the same classifier, however the support set came about.

    Attributes:
        labels: the names of the N classes.
        shots: of the M images, the index of the class, the name and the SHA-256.
        features: float32 [M, D].
    """

    labels: tuple[str, ...]
    shots: tuple[Shot, ...]
    features: NDArray[np.float32]

    @classmethod
    def of(cls, images: Mapping[str, Sequence[EmbeddedImage]]) -> SupportSet:
        """The support set of embedded images by class, each with one image or more."""
        labels = tuple(sorted(images))
        ordered = [
            (index, image)
            for index, label in enumerate(labels)
            for image in sorted(images[label], key=lambda image: (image.sha256, image.name))
        ]
        shots = tuple(Shot(index, _one_line(image.name), image.sha256) for index, image in ordered)
        return cls(labels, shots, np.stack([image.features for _, image in ordered]))

    @classmethod
    def read(cls, adaptation: Adaptation) -> SupportSet:
        """The support set that a bundle holds."""
        return cls(adaptation.labels, adaptation.shots, adaptation.support_features)

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """The index of the class of each shot, int64 [M]."""
        return np.array([shot.label for shot in self.shots], np.int64)

    @property
    def images(self) -> dict[str, list[EmbeddedImage]]:
        """The shots by class, as `of` takes them."""
        images: dict[str, list[EmbeddedImage]] = {label: [] for label in self.labels}
        for shot, features in zip(self.shots, self.features, strict=True):
            images[self.labels[shot.label]].append(EmbeddedImage(shot.name, shot.sha256, features))
        return images

    def __len__(self) -> int:
        return len(self.shots)

    def __repr__(self) -> str:
        return f"<SupportSet: {len(self.labels)} classes, {len(self)} images>"


def _one_line(name: str) -> str:
    """A file name as a bundle can hold it: a file system allows line breaks, a bundle does not."""
    return name if is_line(name) else "".join(character if is_line(character) else "?" for character in name)
