"""A model adapted to a support set, which lives on: what a classifier and a regressor have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import TypeVar

from edge_adapt.runtime.bundle.bundle import Adaptation, Manifest, Shot, write_bundle
from edge_adapt.runtime.bundle.history_json import History
from edge_adapt.runtime.classifier.history import recorded, redone, undone
from edge_adapt.runtime.classifier.support import NO_SHA256, SupportSet, one_line
from edge_adapt.runtime.contract import HeadState
from edge_adapt.runtime.graphs import EmbeddedImage, Graphs, embedded_or_raise
from edge_adapt.runtime.images.images import UnreadImage

A = TypeVar("A", bound="Adapted")


class Adapted(ABC):
    """A support set and what adapting to it gave.

    Args:
        graphs: of the model; where it was read from a file, of that file.
        state: the head state.
        learned: what was adapted just now; None where it is in the file.
        history: its edits; None where they are in the file.
    """

    def __init__(
        self, graphs: Graphs, state: HeadState, learned: Adaptation | None = None, history: History | None = None
    ) -> None:
        self.graphs = graphs
        self._state = state
        self._learned = learned
        self._history = history

    @property
    def manifest(self) -> Manifest:
        """What the bundle says about the model that was adapted."""
        return self.graphs.manifest

    @property
    @abstractmethod
    def adaptation(self) -> Adaptation:
        """Shots, support loss, what leaving them out says, and support features; read or estimated when first asked for."""

    @cached_property
    def support(self) -> SupportSet:
        """What it was adapted to."""
        return SupportSet.read(self.adaptation if self._learned is None else self._learned)

    @property
    def steps(self) -> int:
        """How many gradient steps it took."""
        return self.graphs.bundle.record.steps if self._learned is None else self._learned.steps

    @property
    def history(self) -> History:
        """The edits that it has seen; read from the file when first asked for."""
        if self._history is None:
            self._history = self.graphs.bundle.history()
        return self._history

    def undo(self: A) -> A:
        """As it was before the last edit. Raises DataError where there is none."""
        return self._with(*undone(self.history, self.support))

    def redo(self: A) -> A:
        """As it was before `undo`. Raises DataError where nothing is undone."""
        return self._with(*redone(self.history, self.support))

    def strip(self: A) -> A:
        """To be handed on: without names and SHA-256s of images, and without history. It answers as before."""
        shots = tuple(Shot(shot.label, "", NO_SHA256) for shot in self.adaptation.shots)
        return type(self)(self.graphs, self._state, replace(self.adaptation, shots=shots), History())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as one `.edge` file, whole or not at all.

        Raises:
            EdgeAdaptError: the file cannot be written.
        """
        write_bundle(path, self.manifest, self.graphs.bundle.graphs(), self.adaptation, self.history)

    def _embedded(self, images: Iterable[UnreadImage]) -> list[EmbeddedImage]:
        return list(embedded_or_raise(self.graphs.embed_all(images, as_shots=True)))

    def _edited(self: A, what: str, support: SupportSet) -> A:
        return self._with(recorded(self.history, one_line(what), self.support, support), support)

    @abstractmethod
    def _with(self: A, history: History, support: SupportSet) -> A:
        """That of adapting once to another support set. Raises DataError where the model cannot."""
