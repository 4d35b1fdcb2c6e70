"""A bundle: the one file that holds a model, adapted or not, as docs/bundle-format.md writes it down.

Whatever is read is checked, and only what is asked for is read: opening reads the zip directory and the manifest.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_adapt.runtime.bundle.card import Accuracy, ModelCard
from edge_adapt.runtime.bundle.classifier_json import (
    NO_LABEL,
    SUPPORT_FEATURES,
    SUPPORT_TARGETS,
    Adaptation,
    AdaptationRecord,
    ReadingErrors,
    SelfKnowledge,
    Shot,
    adaptation_of,
    array_entries,
    check_support,
    head_entry,
    record_from_json,
    record_to_json,
    shot_size,
)
from edge_adapt.runtime.bundle.container import Entry, opened, read_directory, read_entry, write_container
from edge_adapt.runtime.bundle.graph_check import check_graph
from edge_adapt.runtime.bundle.history_json import (
    HISTORY,
    HISTORY_FEATURES,
    History,
    history_from_json,
    history_to_json,
)
from edge_adapt.runtime.bundle.manifest import (
    FORMAT_VERSION,
    GRAPHS,
    Golden,
    Manifest,
    manifest_from_json,
    manifest_to_json,
)
from edge_adapt.runtime.bundle.npy import array_from_npy, array_to_npy
from edge_adapt.runtime.bundle.strict_json import quoted
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "FORMAT_VERSION",
    "GRAPHS",
    "Accuracy",
    "Adaptation",
    "AdaptationRecord",
    "Bundle",
    "Golden",
    "Manifest",
    "ModelCard",
    "ReadingErrors",
    "SelfKnowledge",
    "Shot",
    "write_bundle",
]

MANIFEST = "manifest.json"
CLASSIFIER = "classifier.json"
MAX_BYTES = {MANIFEST: 4 * 1024**2, CLASSIFIER: 16 * 1024**2, HISTORY: 16 * 1024**2} | dict.fromkeys(GRAPHS, 1024**3)
"""The largest size of these entries; arrays have no limit but the file's."""


class Bundle:
    """A bundle on disk, from `Bundle.open`; each method reads, and raises BundleError for what is damaged."""

    path: Path
    manifest: Manifest

    def __init__(self, path: Path, entries: tuple[Entry, ...], manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self._entries = {entry.name: entry for entry in entries}
        self._head: Mapping[str, bytes] = {}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Reads and checks the zip directory and the manifest, and nothing else.

        The file is not held open: it may be replaced, for instance by saving under the same name, and what is
        read afterwards is then reported as damaged.

        Raises:
            BundleError: the file cannot be read, is no bundle, is cut off, has a damaged or an unknown part,
                or is of a format version that is not read here.
        """
        name = os.fspath(path)
        with opened(name) as stream:
            entries = read_directory(stream, name)
            if not entries or entries[0].name != MANIFEST:
                raise BundleError(f"{name} is not an edge-adapt bundle: {MANIFEST} is not its first entry.")
            _check_size(MANIFEST, entries[0].size, name)
            manifest = manifest_from_json(read_entry(stream, entries[0], name), name)
        _check_entries(entries, manifest, name)
        return cls(Path(path), entries, manifest)

    @property
    def is_adapted(self) -> bool:
        """Whether the bundle is a classifier (or a regressor) and not a meta-model."""
        return CLASSIFIER in self._entries

    @property
    def sizes(self) -> dict[str, int]:
        """The bytes of each entry, by name, in the file's order."""
        return {entry.name: entry.size for entry in self._entries.values()}

    def with_head(self, manifest: Manifest, head: Mapping[str, bytes]) -> Bundle:
        """The meta-model with another head, which lies in no file.

        Args:
            manifest: what is true of it then; `graphs` does not count.
            head: `adapt.onnx` and `predict.onnx`.
        """
        digests = {**self.manifest.graphs, **{name: _sha256(data) for name, data in head.items()}}
        bundle = Bundle(self.path, tuple(self._entries.values()), replace(manifest, graphs=digests))
        bundle._head = head
        return bundle

    def graph(self, name: str) -> bytes:
        """The bytes of one of GRAPHS, which match their SHA-256 and have passed `check_graph`."""
        if name in self._head:
            return self._head[name]
        data = self._read(name, self.manifest.graphs[name])
        check_graph(data, f"{self.path}: {name}")
        return data

    def graphs(self) -> dict[str, bytes]:
        """All of GRAPHS by name, as `write_bundle` takes them."""
        return {name: self.graph(name) for name in GRAPHS}

    @cached_property
    def record(self) -> AdaptationRecord:
        """What `classifier.json` holds. Raises BundleError for a meta-model."""
        if not self.is_adapted:
            raise BundleError(
                f"{self.path} is a meta-model that knows no classes yet; adapt it first (edge-adapt adapt)."
            )
        return record_from_json(self._read(CLASSIFIER), self.manifest, str(self.path))

    def labels(self) -> tuple[str, ...]:
        """The names of the N classes, in the order of the logits."""
        return self.record.labels

    def head_state(self) -> dict[str, NDArray[Any]]:
        """The head state as `predict` takes it: read-only float32 or int64 arrays by name, all finite."""
        return {name: self._array(head_entry(name)) for name in self.manifest.head_state}

    def adaptation(self) -> Adaptation:
        """Everything that adaptation made, the support set included."""
        arrays = {entry: self._array(entry) for entry in array_entries(self.manifest)}
        return adaptation_of(self.record, arrays, self.manifest, str(self.path))

    def entry(self, name: str) -> bytes:
        """The bytes of an entry by its name, which match its CRC."""
        return self._read(name)

    def history(self) -> History:
        """The edits of a classifier; none where it was never edited."""
        if HISTORY not in self._entries:
            return History()
        features = array_from_npy(self._read(HISTORY_FEATURES), f"{self.path}: {HISTORY_FEATURES}")
        size, count = shot_size(self.manifest), len(self.record.targets)
        return history_from_json(self._read(HISTORY), features, size, count, str(self.path))

    def verify(self) -> None:
        """Reads and checks every entry, the zip's own checksums included."""
        with opened(str(self.path)) as stream:
            for entry in self._entries.values():
                read_entry(stream, entry, str(self.path))
        for name in GRAPHS:
            self.graph(name)
        if self.is_adapted:
            self.adaptation()
            self.history()

    def _array(self, entry: str) -> NDArray[Any]:
        return array_from_npy(self._read(entry, self.record.arrays[entry]), f"{self.path}: {entry}")

    def _read(self, name: str, sha256: str | None = None) -> bytes:
        path = str(self.path)
        with opened(path) as stream:
            data = read_entry(stream, self._entries[name], path, check_crc=sha256 is None)
        if sha256 is not None and _sha256(data) != sha256:
            raise BundleError(f"{path}: {name} does not match its SHA-256; copy the file again.")
        return data


def write_bundle(
    path: str | os.PathLike[str],
    manifest: Manifest,
    graphs: Mapping[str, bytes],
    adaptation: Adaptation | None = None,
    history: History | None = None,
) -> None:
    """Writes a bundle, atomically, whose bytes depend on nothing but the arguments.

    Before the first byte is written, everything is checked as a reader would check it. The manifest's `graphs`
    does not count: the SHA-256 of what is written takes its place.

    Raises:
        BundleError: something that a reader would refuse; nothing is written.
        EdgeAdaptError: the file cannot be saved, on a full disk for instance; an old file survives.
    """
    name = os.fspath(path)
    if set(graphs) != set(GRAPHS):
        raise BundleError(f"{name} cannot be written: it takes the graphs {', '.join(GRAPHS)} and no others.")
    for graph in GRAPHS:
        check_graph(graphs[graph], f"{name}: {graph}")
    manifest = replace(manifest, graphs={graph: _sha256(graphs[graph]) for graph in GRAPHS})
    edited = history is not None and history.edits
    others = adaptation is not None and manifest.task == "classification" and NO_LABEL in adaptation.support_targets
    manifest_json = manifest_to_json(manifest, name, 5 if edited or others else 1)
    manifest_from_json(manifest_json, name)
    entries = [(MANIFEST, manifest_json), *((graph, graphs[graph]) for graph in GRAPHS)]
    if adaptation is not None:
        entries += _adapted_entries(adaptation, manifest, name)
    if history is not None and edited:
        entries += _history_entries(history, manifest, len(adaptation.targets) if adaptation else 0, name)
    for entry, data in entries:
        _check_size(entry, len(data), name)
    write_atomically(path, lambda stream: write_container(stream, entries))


def _adapted_entries(adaptation: Adaptation, manifest: Manifest, path: str) -> list[tuple[str, bytes]]:
    if set(adaptation.head_state) != set(manifest.head_state):
        expected = ", ".join(manifest.head_state)
        raise BundleError(f"{path} cannot be written: the head state's tensors are not {expected}.")
    arrays = {head_entry(name): adaptation.head_state[name] for name in manifest.head_state}
    arrays |= {SUPPORT_FEATURES: adaptation.support_features, SUPPORT_TARGETS: adaptation.support_targets}
    entries = [(entry, array_to_npy(array, f"{path}: {entry}")) for entry, array in arrays.items()]
    read_back = {entry: array_from_npy(data, f"{path}: {entry}") for entry, data in entries}
    record = AdaptationRecord(
        labels=adaptation.labels,
        targets=adaptation.targets,
        shots=adaptation.shots,
        steps=adaptation.steps,
        losses=adaptation.losses,
        leave_one_out=adaptation.leave_one_out,
        arrays={entry: _sha256(data) for entry, data in entries},
        self_knowledge=adaptation.self_knowledge,
        errors=adaptation.errors,
    )
    classifier_json = record_to_json(record, path)
    record_from_json(classifier_json, manifest, path)
    check_support(read_back[SUPPORT_FEATURES], read_back[SUPPORT_TARGETS], record, manifest, path)
    return [(CLASSIFIER, classifier_json), *entries]


def _history_entries(history: History, manifest: Manifest, value_count: int, path: str) -> list[tuple[str, bytes]]:
    history_json, features = history_to_json(history, path)
    history_from_json(history_json, features, shot_size(manifest), value_count, path)
    return [(HISTORY, history_json), (HISTORY_FEATURES, array_to_npy(features, f"{path}: {HISTORY_FEATURES}"))]


def _check_entries(entries: tuple[Entry, ...], manifest: Manifest, path: str) -> None:
    """Refuses any set of entries but a meta-model's, a classifier's and an edited classifier's, and any other order."""
    names = [entry.name for entry in entries]
    of_model = [MANIFEST, *GRAPHS]
    of_classifier = [*of_model, CLASSIFIER, *array_entries(manifest)]
    of_edited = [*of_classifier, HISTORY, HISTORY_FEATURES]
    for name in names:
        if name not in of_edited:
            raise BundleError(f"{path} has the entry {quoted(name)}, which is not one of a bundle's.")
    kinds = (of_model, of_classifier, of_edited)
    expected = next(kind for kind in kinds if set(names) <= set(kind))
    for name in expected:
        if name not in names:
            raise BundleError(f"{path} lacks {name}; copy it again, or export or adapt it anew.")
    if names != expected:
        raise BundleError(f"{path} has its entries out of order; take the file as edge-adapt wrote it.")
    for entry in entries:
        _check_size(entry.name, entry.size, path)


def _check_size(entry: str, size: int, path: str) -> None:
    limit = MAX_BYTES.get(entry)
    if limit is not None and size > limit:
        raise BundleError(f"{path}: {entry} has {size} bytes, and the format allows {limit}.")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
