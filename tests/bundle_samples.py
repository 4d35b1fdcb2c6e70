"""Small bundles for the tests, with graphs written in protobuf by hand: no onnx, no PyTorch."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_adapt.runtime.bundle.bundle import Accuracy, Adaptation, Bundle, Golden, Manifest, ReadingErrors, Shot
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.preprocessing import Preprocessing

GOLDEN_CLASSIFIER = Path(__file__).parent / "data" / "golden_classifier.edge"
"""`manifest()`, GRAPHS and `adaptation()` as version 1 wrote them."""

ENTRIES_OF_MODEL = ("manifest.json", "embed.onnx", "adapt.onnx", "predict.onnx")
ENTRIES_OF_CLASSIFIER = (
    *ENTRIES_OF_MODEL,
    "classifier.json",
    "head/weight.npy",
    "head/count.npy",
    "support/features.npy",
    "support/targets.npy",
)


def varint(value: int) -> bytes:
    """A protobuf varint, as developers.google.com/protocol-buffers/docs/encoding describes it."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    """A varint field."""
    return varint(field << 3) + varint(value)


def chunk(field: int, *parts: bytes) -> bytes:
    """A length-delimited field: bytes, text or a message."""
    payload = b"".join(parts)
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def node(operator: bytes = b"Identity", *more: bytes) -> bytes:
    """A NodeProto from x to y."""
    return chunk(1, b"x") + chunk(2, b"y") + chunk(4, operator) + b"".join(more)


def model(*graph_fields: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """A ModelProto of IR version 8 and opset 18 whose graph has these fields."""
    return before + number(1, 8) + chunk(7, *graph_fields) + chunk(8, chunk(1), number(2, 18)) + after


def tensor(name: bytes, *more: bytes) -> bytes:
    """A TensorProto float32 [2] with raw data."""
    return number(1, 2) + number(2, 1) + chunk(8, name) + chunk(9, bytes(8)) + b"".join(more)


GRAPHS = {
    "embed.onnx": model(chunk(1, node(b"Relu")), chunk(5, tensor(b"w"))),
    "adapt.onnx": model(chunk(1, node(b"MatMul")), chunk(1, node(b"Softmax"))),
    "predict.onnx": model(chunk(1, node(b"Gemm"))),
}


def manifest(**changes: Any) -> Manifest:
    """A classification manifest in which every field says something."""
    values: dict[str, Any] = {
        "name": "tiny",
        "task": "classification",
        "method": "anil",
        "preprocessing": Preprocessing(height=4, width=6, channels=1),
        "feature_size": 3,
        "default_steps": 2,
        "head_state": ("weight", "count"),
        "max_ways": 5,
        "max_support": None,
        "trained_on": "zwölf Zeichen, 字",
        "accuracy": (Accuracy("test", 5, 1, 15, 1000, 0.9875, 0.0025),),
        "license": "CC0-1.0",
        "golden": Golden(
            pixels=np.array([[[[0], [255]], [[128], [1]]], [[[7], [8]], [[9], [10]]]], np.uint8),
            labels=np.array([0, 1], np.int64),
            features=np.array([[0.5, -1.0, 2.0], [0.0, 1.0, -0.25]], np.float32),
            logits=np.array([[1.0, -1.0], [-0.5, 0.5]], np.float32),
            tolerance=0.001,
        ),
    }
    return Manifest(**(values | changes))


def adaptation(**changes: Any) -> Adaptation:
    """An adaptation to two classes with one and two shots."""
    values: dict[str, Any] = {
        "labels": ("кот", "dog"),
        "shots": (
            Shot(0, "cats/a.jpg", hashlib.sha256(b"a").hexdigest()),
            Shot(1, "dogs/b.jpg", hashlib.sha256(b"b").hexdigest()),
            Shot(1, "dogs/c.jpg", hashlib.sha256(b"c").hexdigest()),
        ),
        "steps": 2,
        "losses": (0.75, 0.5),
        "leave_one_out": 0.5,
        "head_state": {
            "weight": np.array([[1.0, 2.0, 3.0], [-1.0, 0.5, 0.25]], np.float32),
            "count": np.array(3, np.int64),
        },
        "support_features": np.arange(9, dtype=np.float32).reshape(3, 3) / 4,
        "support_targets": np.array([0, 1, 1], np.int64),
    }
    return Adaptation(**(values | changes))


def regression_manifest() -> Manifest:
    """As `manifest`, for a task of two values."""
    golden = Golden(
        pixels=np.zeros((1, 2, 2, 1), np.uint8),
        labels=np.array([[1.5, -2.0]], np.float32),
        features=np.ones((1, 3), np.float32),
        logits=np.array([[1.25, -1.75]], np.float32),
        tolerance=0.01,
    )
    return manifest(task="regression", golden=golden, accuracy=(), max_ways=None)


def regression_adaptation(**changes: Any) -> Adaptation:
    """As `adaptation`, for a task of two values."""
    values: dict[str, Any] = {
        "labels": (),
        "targets": ("width", "height"),
        "shots": tuple(Shot(-1, f"{name}.png", hashlib.sha256(name.encode()).hexdigest()) for name in "abc"),
        "leave_one_out": None,
        "support_features": np.arange(468, dtype=np.float32).reshape(3, 156) / 4,
        "support_targets": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.float32),
        "errors": ReadingErrors((0.5, 0.25), (1.0, 0.75)),
    }
    return adaptation(**(values | changes))


def read_zip(path: Path) -> dict[str, bytes]:
    """The entries of a bundle, in order, as Python's zipfile sees them."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_bytes(entries: Mapping[str, bytes]) -> bytes:
    """A container as Python's zipfile writes it when told each field that docs/bundle-format.md fixes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o100644 << 16
            archive.writestr(info, data)
    return stream.getvalue()


def change_json(entries: Mapping[str, bytes], entry: str, **changes: Any) -> dict[str, bytes]:
    """The entries with some keys of a JSON entry replaced."""
    value = json.loads(entries[entry]) | changes
    return dict(entries) | {entry: json.dumps(value).encode()}


def change_array(entries: Mapping[str, bytes], entry: str, data: bytes) -> dict[str, bytes]:
    """The entries with a .npy entry replaced and its SHA-256 made right, as a forger would."""
    arrays = json.loads(entries["classifier.json"])["arrays"] | {entry: hashlib.sha256(data).hexdigest()}
    return change_json(entries, "classifier.json", arrays=arrays) | {entry: data}


def refusal(file: Path, data: bytes) -> str:
    """What opening and verifying the file with these bytes says, behind its name: one sentence, and BundleError."""
    file.write_bytes(data)
    with pytest.raises(BundleError) as raised:
        Bundle.open(file).verify()
    message = str(raised.value)
    assert message.startswith(str(file))
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < len(str(file)) + 300
    return message.removeprefix(str(file))


def refusal_of(file: Path, entries: Mapping[str, bytes]) -> str:
    """As `refusal`, of a sound container with these entries."""
    return refusal(file, zip_bytes(entries))


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal, arrays by dtype, shape and bytes, dataclasses field by field."""
    if isinstance(left, np.ndarray):
        same_type = isinstance(right, np.ndarray) and left.dtype == right.dtype and left.shape == right.shape
        return same_type and left.tobytes() == right.tobytes()
    if dataclasses.is_dataclass(left):
        names = [field.name for field in dataclasses.fields(left)]
        return type(left) is type(right) and all(same(getattr(left, name), getattr(right, name)) for name in names)
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    return bool(left == right)
