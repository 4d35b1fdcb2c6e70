"""A data set on disk that is yet to be read, with how to read it: the model that it is read for says the size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.images.preprocessing import Preprocessing


@dataclass(frozen=True)
class DataSource:
    """A folder or zip with one sub-folder a class, and how it is read; see `load_dataset`.

    Attributes:
        path: the folder or zip.
        classes: files with one class a line; only classes whose path ends with a line are read. Empty: all.
        rotations: make four classes of each by quarter turns.
        cache: a folder to keep the pixels in; None keeps them in memory, or a large data set in the default cache.
        skip_bad: leave out images that cannot be read, instead of refusing the data set.
    """

    path: str | os.PathLike[str]
    classes: Sequence[str | os.PathLike[str]] = ()
    rotations: bool = False
    cache: str | os.PathLike[str] | None = None
    skip_bad: bool = False

    @classmethod
    def of(cls, given: DataSource | str | os.PathLike[str]) -> DataSource:
        """What was given, where a path says that all of it is read."""
        return given if isinstance(given, DataSource) else cls(given)

    @property
    def files(self) -> tuple[str | os.PathLike[str], ...]:
        """Everything that is read."""
        return (self.path, *self.classes)

    def load(self, preprocessing: Preprocessing, *, progress: bool = False) -> ImageDataset:
        """The images at the size that a model takes.

        Raises:
            EdgeAdaptError: as `load_dataset` says.
        """
        return load_dataset(self.path, preprocessing, self.classes, self.rotations, progress, self.cache, self.skip_bad)
