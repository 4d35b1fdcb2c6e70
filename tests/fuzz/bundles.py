"""Hostile bundles by the thousand: python -m tests.fuzz.bundles [--count 20000] [--seed 0] [--keep FOLDER]

Each is a sound classifier in which a few things are changed where they lie: fields of the JSON entries, headers and values of
arrays, nodes, attributes, names and constants of the graphs, records of the zip. Digests are computed anew, so that the checks
behind them are reached. Each must load, or be refused in one sentence, by `info`, which runs the graphs in a child process; both
hold at most 512 MiB.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from edge_adapt.runtime.bundle.container import write_container
from edge_adapt.runtime.bundle.graph_check import ALLOWED_OPERATORS
from edge_adapt.runtime.info import info
from edge_adapt.runtime.model import load_model
from tests.bundle_samples import read_zip
from tests.conftest import TINY
from tests.fuzz.attempts import Fuzzer, damaged, run
from tests.tiny_model import photos

Entries = dict[str, bytes]

_EXTREMES = (0, 1, -1, 2, 7, 255, 2**15, 2**31 - 1, -(2**31), 2**31, 2**53, 2**63 - 1, -(2**63))
_TEXTS = ("", "x", "\n", "\x1b[31m", "\u202e", "a" * 3000, "\ud800", "../../x", "C:\\x", "é", "0" * 64)


def sound_classifier() -> Entries:
    """The entries of a classifier of three classes, edited once."""
    mine = load_model(TINY).adapt(photos({"a": 3, "b": 2, "c": 2})).rename("c", "d")
    with TemporaryDirectory() as folder:
        mine.save(Path(folder) / "mine.edge")
        return read_zip(Path(folder) / "mine.edge")


def hostile(sound: Entries, choose: random.Random) -> bytes:
    """The bytes of a bundle that is sound but for one to three changes."""
    entries = dict(sound)
    for _ in range(choose.choice((1, 1, 1, 2, 3))):
        kind = choose.choice(_KINDS)
        kind(entries, choose)
    _digests_anew(entries)
    stream = io.BytesIO()
    write_container(stream, entries.items())
    data = stream.getvalue()
    if choose.random() < 0.1:
        data = damaged(data, choose)
    return data


def _json(entries: Entries, choose: random.Random) -> None:
    """Change one value, key or list somewhere in a JSON entry."""
    name = choose.choice([name for name in entries if name.endswith(".json")])
    try:
        document = json.loads(entries[name])
    except ValueError:
        return
    places = list(_places(document))
    if not places:
        return
    holder, key = choose.choice(places)
    change = choose.randrange(5)
    if change == 0:
        del holder[key]
    elif change == 1:
        holder[key] = choose.choice((None, True, [], {}, 1.5, 1e308, -0.0, *_EXTREMES, *_TEXTS))
    elif change == 2 and isinstance(holder, list):
        holder.extend([holder[key]] * choose.choice((1, 10, 2000)))
    elif isinstance(holder[key], (int, float)):
        holder[key] = choose.choice((holder[key] + 1, holder[key] - 1, holder[key] * 1000, *_EXTREMES))
    else:
        holder[key] = choose.choice(_TEXTS)
    entries[name] = json.dumps(document, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _places(value: Any) -> Any:
    """All (list or object, index or key) in a JSON value."""
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _array(entries: Entries, choose: random.Random) -> None:
    """Change an array's header, values or length."""
    name = choose.choice([name for name in entries if name.endswith(".npy")])
    change = choose.randrange(4)
    if change == 0:
        entries[name] = damaged(entries[name], choose)
        return
    try:
        array = np.load(io.BytesIO(entries[name]), allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return
    if change == 1 and array.size:
        array.reshape(-1)[choose.randrange(array.size)] = choose.choice(
            (np.nan, np.inf, -np.inf, 1e38, -1) if array.dtype.kind == "f" else (-1, 0, 5, 2**31)
        )
    elif change == 2:
        array = array[: choose.randrange(len(array) + 1)] if array.ndim else array[None]
    else:
        array = array.astype(choose.choice(("float64", "int32", "uint8", "float16", "complex64", ">f4")))
    stream = io.BytesIO()
    np.save(stream, array)
    entries[name] = stream.getvalue()


def _graph(entries: Entries, choose: random.Random) -> None:
    """Change a node, an attribute, a name or a constant of a graph."""
    name = choose.choice([name for name in entries if name.endswith(".onnx")])
    try:
        model = onnx.load_model_from_string(entries[name])
    except Exception:  # protobuf's errors: it was changed beyond reading already
        return
    graph = choose.choice(list(_graphs(model.graph)))
    if not graph.node:
        return
    node = choose.choice(graph.node)
    change = choose.randrange(8)
    if change == 0:
        node.op_type = choose.choice(sorted(ALLOWED_OPERATORS))
    elif change == 1 and node.input:
        node.input[choose.randrange(len(node.input))] = choose.choice(("", *(i for n in graph.node for i in n.output)))
    elif change == 2 and node.attribute:
        attribute = choose.choice(node.attribute)
        attribute.i, attribute.f = choose.choice(_EXTREMES[:-1]), choose.choice((0.0, -1.0, 1e38, float("nan")))
        if attribute.ints:
            attribute.ints[choose.randrange(len(attribute.ints))] = choose.choice(_EXTREMES)
    elif change == 3 and graph.initializer:
        _constant(choose.choice(graph.initializer), choose)
    elif change == 4:
        graph.node.remove(node)
    elif change == 5:
        node.output[0] = choose.choice((*node.input, "x", ""))
    elif change == 6 and graph.input:
        choose.choice(graph.input).type.tensor_type.elem_type = choose.randrange(17)
    else:
        values = [*graph.input, *graph.output, *graph.value_info]
        if values:
            choose.choice(values).name = choose.choice(_TEXTS[:5] + _TEXTS[7:])
    try:
        entries[name] = model.SerializeToString()
    except ValueError:
        return


def _graphs(graph: Any) -> Any:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _constant(tensor: Any, choose: random.Random) -> None:
    """Another value, or another shape, of an initializer."""
    values = np.array(onnx.numpy_helper.to_array(tensor))
    if values.size and choose.random() < 0.6:
        at = choose.randrange(values.size)
        if values.dtype.kind in "iu":
            limits = np.iinfo(values.dtype)
            values.reshape(-1)[at] = choose.choice((0, 1, limits.max, limits.min, limits.max // 2))
        elif values.dtype.kind == "f":
            values.reshape(-1)[at] = choose.choice((0.0, -1.0, 1e30, np.nan, np.inf))
    else:
        values = choose.choice((values.reshape(-1), values[None], np.zeros(0, values.dtype)))
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def _entry(entries: Entries, choose: random.Random) -> None:
    """Lose, add, empty, swap or damage an entry."""
    names = list(entries)
    name = choose.choice(names)
    change = choose.randrange(5)
    if change == 0:
        del entries[name]
    elif change == 1:
        entries[choose.choice(("x", "../x", "head/more.npy", "manifest.json2"))] = b"x"
    elif change == 2:
        entries[name] = choose.choice((b"", entries[choose.choice(names)]))
    elif change == 3:
        entries[name] = entries.pop(name)
    else:
        entries[name] = damaged(entries[name], choose)


_KINDS: tuple[Callable[[Entries, random.Random], None], ...] = (_json, _json, _array, _graph, _graph, _graph, _entry)


def _digests_anew(entries: Entries) -> None:
    """So that what was changed is what is checked."""
    for name, holder in (("manifest.json", "graphs"), ("classifier.json", "arrays")):
        try:
            document = json.loads(entries[name])
            for entry in document[holder]:
                digest = hashlib.sha256(entries[entry]).hexdigest()
                if isinstance(document[holder][entry], dict):
                    document[holder][entry]["sha256"] = digest
                else:
                    document[holder][entry] = digest
            entries[name] = json.dumps(document, separators=(",", ":")).encode("utf-8", "surrogatepass")
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # it is no longer there, or no longer that


def look(file: Path) -> str:
    """What is done with one."""
    info(file)
    return "loads"


def fuzzer() -> Fuzzer:
    """Hostile bundles."""
    return Fuzzer(".edge", partial(hostile, sound_classifier()), look, most=512)


if __name__ == "__main__":
    run(__doc__ or "", 20_000, {"bundles": fuzzer()})
