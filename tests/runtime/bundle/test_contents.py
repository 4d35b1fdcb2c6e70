"""Bundles whose container is sound and whose contents are not: wrong JSON, arrays that are more than numbers, forged graphs."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import operator
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.bundle.manifest import manifest_to_json
from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import View
from tests import bundle_samples as samples
from tests.bundle_samples import refusal_of

ENTRIES = samples.read_zip(samples.GOLDEN_CLASSIFIER)
NEWEST = ENTRIES | {
    "manifest.json": manifest_to_json(
        samples.manifest(
            preprocessing=Preprocessing(4, 6, 1, part=0.5, ground="light"),
            support_views=(View(0.5, mirrored=True),),
            graphs={name: hashlib.sha256(graph).hexdigest() for name, graph in samples.GRAPHS.items()},
        ),
        "newest",
    )
}
"""As ENTRIES, with what later versions of the manifest have as well."""


# The JSON


def test_another_version_is_named_before_anything_else(file: Path) -> None:
    manifest = json.dumps({"format_version": 7, "of": "the future"}).encode()
    message = refusal_of(file, {"manifest.json": manifest, "quantum.onnx": b"?"})
    assert message == " has format version 7, and this edge-adapt reads versions 1 to 6; update edge-adapt."


@pytest.mark.parametrize(
    ("json_text", "fault"),
    [
        (b"", "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b"\xef\xbb\xbf{}", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", 'lacks "format_version"'),
        (b'{"format_version": 1}', 'lacks "task"'),
        (b'{"format_version": true}', '"format_version"'),
        (b'{"format_version": 1, "format_version": 1}', "a key stands twice"),
        (b'{"format_version": NaN}', "NaN is not JSON"),
        (b'{"format_version": -Infinity}', "-Infinity is not JSON"),
        (b'{"format_version": ' + b"1" * 5000 + b"}", "too many digits"),
        (b'{"format_version": 1e400}', '"format_version"'),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_not_the_manifest(file: Path, json_text: bytes, fault: str) -> None:
    assert fault in refusal_of(file, ENTRIES | {"manifest.json": json_text})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a JSON tree."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [leaf for key, child in children for leaf in leaves(child, (*path, key))]


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    return functools.reduce(operator.getitem, path, tree)


def with_value(tree: Any, path: tuple[Any, ...], value: Any) -> bytes:
    """The tree with another value at the path."""
    copy = json.loads(json.dumps(tree))
    at(copy, path[:-1])[path[-1]] = value
    return json.dumps(copy).encode()


WRONG_VALUES: tuple[Any, ...] = (None, True, {}, [[]], -1, 0.5, "", "\ud800", {"a": []})


EVERY_JSON = [("manifest.json", ENTRIES), ("manifest.json", NEWEST), ("classifier.json", ENTRIES)]


@pytest.mark.parametrize(("entry", "entries"), EVERY_JSON)
def test_every_key_is_needed_and_no_other_allowed(file: Path, entry: str, entries: dict[str, bytes]) -> None:
    tree = json.loads(entries[entry])
    for path in leaves(tree):
        if isinstance(path[-1], str):
            without = json.loads(entries[entry])
            del at(without, path[:-1])[path[-1]]
            assert f'lacks "{path[-1]}"' in refusal_of(file, entries | {entry: json.dumps(without).encode()})
            beside = with_value(tree, (*path[:-1], f"{path[-1]}_2"), 0)
            assert f"has the unknown key '{path[-1]}_2'" in refusal_of(file, entries | {entry: beside})


@pytest.mark.parametrize(("entry", "entries"), EVERY_JSON)
def test_no_value_of_a_wrong_type_gets_through_or_raises_anything_else(
    file: Path, entry: str, entries: dict[str, bytes]
) -> None:
    tree = json.loads(entries[entry])
    nullable = {("golden",), ("max_ways",), ("max_support",), ("leave_one_out",)}
    for path in leaves(tree):
        original = at(tree, path)
        for value in WRONG_VALUES:
            changed = with_value(tree, path, value)
            file.write_bytes(samples.zip_bytes(entries | {entry: changed}))
            try:
                Bundle.open(file).verify()
            except BundleError as error:
                assert str(error).isprintable()
            else:
                both_numbers = {type(value), type(original)} <= {int, float}
                allowed = both_numbers or type(value) is type(original) or (value is None and path in nullable)
                assert allowed, f"{path} may be {value!r}"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"labels": ["a", "a"]}, "'a' twice"),
        ({"labels": []}, "lacks labels"),
        ({"labels": ["a", ""]}, "not one line of text"),
        ({"labels": ["a", "b\x1b[2J"]}, "not one line of text"),
        ({"labels": ["a"]}, '"label"'),
        ({"labels": ["a", "b", "c"]}, "a label without a shot"),
        ({"labels": list("abcdef")}, "at most 5"),
        ({"targets": ["t"]}, "the task is classification"),
        ({"shots": []}, "a label without a shot"),
        ({"steps": 3}, "2 losses for 3 steps"),
        ({"arrays": {}}, 'lacks "head/weight.npy"'),
    ],
)
def test_a_classifier_that_contradicts_itself(file: Path, changes: dict[str, Any], fault: str) -> None:
    assert fault in refusal_of(file, samples.change_json(ENTRIES, "classifier.json", **changes))


def test_shots_that_disagree_with_the_arrays(file: Path) -> None:
    shots = json.loads(ENTRIES["classifier.json"])["shots"]
    fewer = samples.change_json(ENTRIES, "classifier.json", shots=shots[:2])
    assert "support/features.npy is float32 [3, 3], and the shots need float32 [2, 3]" in refusal_of(file, fewer)
    relabelled = samples.change_json(ENTRIES, "classifier.json", shots=[shots[1] | {"label": 0}, *shots[1:]][::-1])
    assert "disagrees with the labels" in refusal_of(file, relabelled)


def test_golden_vectors_that_contradict_themselves(file: Path) -> None:
    golden = json.loads(ENTRIES["manifest.json"])["golden"]
    infinite = {"dtype": "float32", "shape": [2, 2], "base64": "AACAfwAAgH8AAIB/AACAfw=="}
    for key, changes, fault in [
        ("pixels", {"shape": [2, 2, 2, 3]}, "shape"),
        ("pixels", {"shape": [2, 4, 1, 1]}, "not square"),
        ("pixels", {"shape": [2**30, 2**30, 2**30, 1]}, "number of bytes"),
        ("pixels", {"base64": golden["pixels"]["base64"] + "\n"}, "not base64"),
        ("pixels", {"base64": "ß"}, "not base64"),
        ("pixels", {"dtype": "object"}, "'object'"),
        ("labels", {"base64": "AQAAAAAAAAABAAAAAAAAAA=="}, "each at least once"),
        ("logits", infinite, "not finite"),
    ]:
        changed = samples.change_json(ENTRIES, "manifest.json", golden=golden | {key: golden[key] | changes})
        assert fault in refusal_of(file, changed)


# The arrays


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """A .npy file whose header is this text, padded as NumPy does."""
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def header(descr: str = "<f4", order: str = "False", shape: str = "(2, 3)") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "is not a .npy array of format 1.0"),
        (b"\x93NUMPY\x01\x00", "is not a .npy array of format 1.0"),
        (b"\x93NUMPY\x01\x00\xff\xff", "is not a .npy array of format 1.0"),
        (npy(header(), bytes(24), version=b"\x02\x00"), "is not a .npy array of format 1.0"),
        (npy("__import__('os').abort()"), "is not a .npy array of format 1.0"),
        (npy("(" * 5000), "is not a .npy array of format 1.0"),
        (npy(header() + "#", bytes(24)), "is not a .npy array of format 1.0"),
        (npy(header(shape="(2, 3)")[:-1] + "'a': 1}", bytes(24)), "is not a .npy array of format 1.0"),
        (npy(header("|O"), b"cos\nabort\n(tR."), "has the dtype '|O'"),
        (npy(header(">f4"), bytes(24)), "has the dtype '>f4'"),
        (npy(header("<f8"), bytes(48)), "has the dtype '<f8'"),
        (npy(header(order="True"), bytes(24)), "is in Fortran order"),
        (npy(header(), bytes(23)), "does not match its number of bytes"),
        (npy(header(), bytes(25)), "does not match its number of bytes"),
        (npy(header(shape="(1000000000000, 1000000000000)")), "does not match its number of bytes"),
        (npy(header(shape="(0, 9999999999999999999999)")), "absurd shape"),
        (npy(header(shape="(0, 2000000, 2000000)")), "absurd shape"),
        (npy(header(shape=f"({', '.join(['1'] * 40)})"), bytes(4)), "absurd shape"),
        (npy(header(shape="(2 3)"), bytes(24)), "malformed shape"),
        (npy(header(shape="(6)"), bytes(24)), "malformed shape"),
        (npy(header(shape="(,)"), bytes(4)), "malformed shape"),
        (npy(header(), np.array([0, 1, 2, np.nan, 4, 5], "<f4").tobytes()), "holds a NaN or an infinity; adapt again"),
        (npy(header(), np.array([0, 1, 2, -np.inf, 4, 5], "<f4").tobytes()), "holds a NaN or an infinity"),
    ],
)
def test_arrays_that_are_not_plain_numbers(file: Path, data: bytes, fault: str) -> None:
    """With its SHA-256 made right: the sum protects against damage, not against a forger."""
    message = refusal_of(file, samples.change_array(ENTRIES, "head/weight.npy", data))
    assert message.startswith(": head/weight.npy ")
    assert fault in message


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_random_arrays_are_refused(file: Path, data: bytes) -> None:
    prefix = b"\x93NUMPY\x01\x00v\x00"
    refusal_of(file, samples.change_array(ENTRIES, "head/weight.npy", data))
    refusal_of(file, samples.change_array(ENTRIES, "head/weight.npy", prefix + data))


@pytest.mark.parametrize(
    ("entry", "array", "fault"),
    [
        ("support/features.npy", np.zeros((3, 2), "<f4"), "the shots need float32 [3, 3]"),
        ("support/features.npy", np.zeros((3, 3), "<i8"), "the shots need float32 [3, 3]"),
        ("support/targets.npy", np.zeros((3, 1), "<i8"), "the shots need int64 [3]"),
        ("support/targets.npy", np.zeros(3, "<f4"), "the shots need int64 [3]"),
        ("support/targets.npy", np.array([0, 1, 2], "<i8"), "disagrees with the labels"),
    ],
)
def test_support_arrays_that_do_not_fit(file: Path, entry: str, array: np.ndarray[Any, Any], fault: str) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(1, 0))
    assert fault in refusal_of(file, samples.change_array(ENTRIES, entry, stream.getvalue()))


# The graphs


def test_a_forged_graph_is_refused_where_it_is_read(file: Path) -> None:
    location = samples.chunk(13, samples.chunk(1, b"location"), samples.chunk(2, b"/etc/passwd"))
    graph = samples.model(samples.chunk(5, samples.tensor(b"w", location, samples.number(14, 1))))
    sums = json.loads(ENTRIES["manifest.json"])["graphs"] | {"embed.onnx": hashlib.sha256(graph).hexdigest()}
    forged = samples.change_json(ENTRIES, "manifest.json", graphs=sums) | {"embed.onnx": graph}
    assert ": embed.onnx keeps a tensor in another file" in refusal_of(file, forged)


@pytest.mark.parametrize(("entry", "key"), [("manifest.json", "default_steps"), ("classifier.json", "steps")])
def test_more_steps_than_any_method_takes(file: Path, entry: str, key: str) -> None:
    fault = f'has "{key}" that is not an integer from 0 to {MAX_STEPS}'
    assert fault in refusal_of(file, samples.change_json(ENTRIES, entry, **{key: MAX_STEPS + 1}))


def test_golden_images_that_would_fill_memory(file: Path) -> None:
    seen = json.loads(ENTRIES["manifest.json"])["preprocessing"] | {"height": 8192, "width": 8192}
    said = refusal_of(file, samples.change_json(ENTRIES, "manifest.json", preprocessing=seen))
    assert "has 2 images, which blown up have more than 16,777,216 pixels" in said
