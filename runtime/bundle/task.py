"""A task: what a classifier holds beyond its model, to be sent to a device that has the model (`*.task`).

A container like a bundle's: `task.json`, which names the model by the SHA-256 of its graphs, then `classifier.json`, the arrays
and the history as in the bundle.
"""

from __future__ import annotations

import os

from edge_adapt.runtime.bundle.bundle import CLASSIFIER, MAX_BYTES, Bundle, opened, write_bundle
from edge_adapt.runtime.bundle.classifier_json import adaptation_of, array_entries, record_from_json
from edge_adapt.runtime.bundle.container import Entry, read_directory, read_entry, write_container
from edge_adapt.runtime.bundle.history_json import HISTORY, HISTORY_FEATURES, History, history_from_json
from edge_adapt.runtime.bundle.manifest import FORMAT_VERSION, GRAPHS
from edge_adapt.runtime.bundle.npy import array_from_npy
from edge_adapt.runtime.bundle.strict_json import Fields, dump_json, load_json
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.files import write_atomically

TASK = "task.json"
_MAX_BYTES = MAX_BYTES | {TASK: 64 * 1024}


def write_task(bundle: Bundle, path: str | os.PathLike[str]) -> None:
    """Write the task of a classifier, atomically.

    Raises:
        BundleError: the bundle is no classifier, or damaged.
        EdgeAdaptError: the file cannot be written.
    """
    bundle.adaptation()
    value = {
        "format_version": FORMAT_VERSION,
        "model": bundle.manifest.name,
        "graphs": {name: bundle.manifest.graphs[name] for name in GRAPHS},
    }
    names = [name for name in bundle.sizes if name not in ("manifest.json", *GRAPHS)]
    entries = [(TASK, dump_json(value, f"{path}: {TASK}")), *((name, bundle.entry(name)) for name in names)]
    write_atomically(path, lambda stream: write_container(stream, entries))


def read_task(task: str | os.PathLike[str], model: Bundle, path: str | os.PathLike[str]) -> None:
    """Write the classifier that a task makes of its model, atomically: with the same model, the bytes that were packed.

    Raises:
        BundleError: the task is damaged, or of another model.
        EdgeAdaptError: the file cannot be written.
    """
    name, manifest = os.fspath(task), model.manifest
    if graphs_of_task(task) != dict(manifest.graphs):
        raise BundleError(f"{name} is a task of another model than {model.path}; give the one that it was made with.")
    contents = _contents(name, array_entries(manifest))
    record = record_from_json(contents[CLASSIFIER], manifest, name)
    arrays = {entry: array_from_npy(contents[entry], f"{name}: {entry}") for entry in array_entries(manifest)}
    history = History()
    if HISTORY in contents:
        features = array_from_npy(contents[HISTORY_FEATURES], f"{name}: {HISTORY_FEATURES}")
        history = history_from_json(contents[HISTORY], features, manifest.feature_size, name)
    adaptation = adaptation_of(record, arrays, manifest, name)
    write_bundle(path, manifest, model.graphs(), adaptation, history)


def graphs_of_task(task: str | os.PathLike[str]) -> dict[str, str]:
    """The SHA-256 of each graph of the model that a task was made with. Raises BundleError where the file is no task."""
    name = os.fspath(task)
    with opened(name) as stream:
        entries = read_directory(stream, name)
        if not entries or entries[0].name != TASK or entries[0].size > _MAX_BYTES[TASK]:
            raise BundleError(f"{name} is not a task; give a file that `edge-adapt pack` wrote.")
        data = read_entry(stream, entries[0], name)
    fields = Fields(load_json(data, f"{name}: {TASK}"), f"{name}: {TASK}")
    version = fields.integer("format_version", 1)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{name} has format version {version}, and this edge-adapt reads versions 1 to {FORMAT_VERSION}; update edge-adapt."
        )
    fields.line("model")
    graphs = fields.child("graphs")
    found = {graph: graphs.sha256(graph) for graph in GRAPHS}
    graphs.done()
    fields.done()
    return found


def _contents(path: str, arrays: tuple[str, ...]) -> dict[str, bytes]:
    """The entries of a task, in their order and no others."""
    with opened(path) as stream:
        entries: tuple[Entry, ...] = read_directory(stream, path)
        expected = [TASK, CLASSIFIER, *arrays]
        found = [entry.name for entry in entries]
        if found not in (expected, [*expected, HISTORY, HISTORY_FEATURES]):
            raise BundleError(f"{path} has other parts than a task of this model; copy it again.")
        for entry in entries:
            if entry.size > _MAX_BYTES.get(entry.name, entry.size):
                raise BundleError(
                    f"{path}: {entry.name} has {entry.size} bytes, and the format allows {_MAX_BYTES[entry.name]}."
                )
        return {entry.name: read_entry(stream, entry, path) for entry in entries}
