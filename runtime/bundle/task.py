"""A task: what a classifier holds beyond its model, to be sent to a device that has the model (`*.task`).

A container like a bundle's: `task.json`, which names the model by the SHA-256 of its manifest, then `classifier.json`,
the arrays and the history as in the bundle, and last the signature of all that, where it is signed.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass

from edge_adapt.runtime.bundle.bundle import CLASSIFIER, MAX_BYTES, Bundle, write_bundle
from edge_adapt.runtime.bundle.classifier_json import adaptation_of, array_entries, record_from_json, shot_size
from edge_adapt.runtime.bundle.container import opened, read_directory, read_entry, write_container, write_entries
from edge_adapt.runtime.bundle.history_json import HISTORY, HISTORY_FEATURES, History, history_from_json
from edge_adapt.runtime.bundle.manifest import FORMAT_VERSION, GRAPHS, manifest_to_json
from edge_adapt.runtime.bundle.npy import array_from_npy
from edge_adapt.runtime.bundle.signature import require_signature, sign
from edge_adapt.runtime.bundle.strict_json import Fields, dump_json, load_json
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.files import write_atomically

TASK = "task.json"
SIGNATURE = "signature"
_MAX_BYTES = MAX_BYTES | {TASK: 64 * 1024, SIGNATURE: 64}


@dataclass(frozen=True, eq=False)
class Task:
    """A task that was read; nothing of it is checked yet but the container and `task.json`.

    Attributes:
        path: as messages call it.
        manifest: the SHA-256 of the manifest of the model that it was made with, which has those of its graphs.
        contents: every entry but the signature, in their order.
        signature: None where it is not signed.
    """

    path: str
    manifest: str
    contents: Mapping[str, bytes]
    signature: bytes | None

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Task:
        """Read the file, once. Raises BundleError where it is no task, or damaged."""
        name = os.fspath(path)
        with opened(name) as stream:
            entries = read_directory(stream, name)
            if not entries or entries[0].name != TASK:
                raise BundleError(f"{name} is not a task; give a file that `edge-adapt pack` wrote.")
            for entry in entries:
                if entry.size > _MAX_BYTES.get(entry.name, entry.size):
                    raise BundleError(
                        f"{name}: {entry.name} has {entry.size} bytes, and the format allows {_MAX_BYTES[entry.name]}."
                    )
            contents = {entry.name: read_entry(stream, entry, name) for entry in entries}
        signature = contents.pop(SIGNATURE, None) if entries[-1].name == SIGNATURE else None
        return cls(name, _manifest(contents[TASK], name), contents, signature)

    def require_signature(self, key: str | os.PathLike[str]) -> None:
        """Raise BundleError unless it is signed with the private key that belongs to this public one, and as it was then."""
        if self.signature is None:
            raise BundleError(f"{self.path} is not signed; ask for one that `edge-adapt pack --sign` wrote.")
        require_signature(_message(self.contents), self.signature, key, self.path)

    def is_of(self, model: Bundle) -> bool:
        """Whether it was made with this very model."""
        return self.manifest == _manifest_of(model)

    def unpack(self, model: Bundle, path: str | os.PathLike[str]) -> None:
        """Write the classifier that it makes of its model, atomically: with the same model, the bytes that were packed.

        Raises:
            BundleError: it is damaged, or of another model.
            EdgeAdaptError: the file cannot be written.
        """
        name, manifest, contents = self.path, model.manifest, self.contents
        if not self.is_of(model):
            raise BundleError(
                f"{name} is a task of another model than {model.path}; give the one that it was made with."
            )
        expected = [TASK, CLASSIFIER, *array_entries(manifest)]
        if list(contents) not in (expected, [*expected, HISTORY, HISTORY_FEATURES]):
            raise BundleError(f"{name} has other parts than a task of this model; copy it again.")
        record = record_from_json(contents[CLASSIFIER], manifest, name)
        arrays = {entry: array_from_npy(contents[entry], f"{name}: {entry}") for entry in array_entries(manifest)}
        history = History()
        if HISTORY in contents:
            features = array_from_npy(contents[HISTORY_FEATURES], f"{name}: {HISTORY_FEATURES}")
            history = history_from_json(contents[HISTORY], features, shot_size(manifest), len(record.targets), name)
        write_bundle(path, manifest, model.graphs(), adaptation_of(record, arrays, manifest, name), history)


def is_task(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a task and no bundle. Raises BundleError where it is neither."""
    name = os.fspath(path)
    with opened(name) as stream:
        entries = read_directory(stream, name)
    return bool(entries) and entries[0].name == TASK


def write_task(bundle: Bundle, path: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> None:
    """Write the task of a classifier, atomically.

    Args:
        bundle: the classifier.
        path: the file to write.
        key: the private key to sign it with.

    Raises:
        BundleError: the bundle is no classifier, or damaged.
        EdgeAdaptError: the file cannot be written, or there is no such key.
    """
    bundle.adaptation()
    value = {
        "format_version": FORMAT_VERSION,
        "model": bundle.manifest.name,
        "manifest": _manifest_of(bundle),
    }
    names = [name for name in bundle.sizes if name not in ("manifest.json", *GRAPHS)]
    entries = [(TASK, dump_json(value, f"{path}: {TASK}")), *((name, bundle.entry(name)) for name in names)]
    if key is not None:
        entries.append((SIGNATURE, sign(_message(dict(entries)), key)))
    write_atomically(path, lambda stream: write_container(stream, entries))


def _message(contents: Mapping[str, bytes]) -> bytes:
    """What the signature is of: the bytes of the file before its entry, which follow from what the other entries hold."""
    message = io.BytesIO()
    write_entries(message, contents.items())
    return message.getvalue()


def _manifest_of(bundle: Bundle) -> str:
    """Of `manifest.json` as a bundle without edits has it: those may raise its format version."""
    return hashlib.sha256(manifest_to_json(bundle.manifest, str(bundle.path), 1)).hexdigest()


def _manifest(task: bytes, path: str) -> str:
    """The SHA-256 of the manifest that `task.json` names. Raises BundleError where it does not."""
    fields = Fields(load_json(task, f"{path}: {TASK}"), f"{path}: {TASK}")
    version = fields.integer("format_version", 1)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, and this edge-adapt reads versions 1 to {FORMAT_VERSION}; update edge-adapt."
        )
    fields.line("model")
    manifest = fields.sha256("manifest")
    fields.done()
    return manifest
