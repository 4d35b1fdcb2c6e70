"""What a bundle says of itself: `manifest.json`, field by field as in docs/bundle-format.md."""

from __future__ import annotations

import binascii
import math
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_adapt.runtime.bundle.card import PRECISIONS, TASKS, Accuracy, ModelCard, Priors
from edge_adapt.runtime.bundle.strict_json import LARGEST_INTEGER, Fields, dump_json, load_json, quoted
from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import GROUNDS, Preprocessing
from edge_adapt.runtime.images.views import LEAST_PART, MOST_VIEWS, View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

FORMAT_VERSION = 6
"""The newest version; a bundle is written in the lowest that can hold it."""
GRAPHS = ("embed.onnx", "adapt.onnx", "predict.onnx")
MAX_HEAD_TENSORS = 64
MAX_GOLDEN_PIXELS = 2**24
"""Of all golden images together, blown up, unless there is one: 64 of 512 x 512."""
MOST_PRIOR = 100
"""What the priors are at most, in size: far beyond what is learned."""

_TENSOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_GRAPH_NAMES = frozenset({"features", "targets", "steps", "n_way", "losses", "logits", "values"})
"""Inputs and outputs of `adapt` and `predict` beside the head state, which cannot share their names."""


@dataclass(frozen=True, eq=False)
class Golden:
    """What the graphs must give, for a device to check itself against.

    `embed` on the B images, `adapt` on all of them with the default steps and `predict` on the same B give
    `features` and `logits` with no error above `tolerance` * max(1, largest magnitude in the expected array).
    """

    pixels: NDArray[np.uint8]
    """uint8 [B, g, g, C]: small pictures, which `images` blows up."""
    labels: NDArray[Any]
    """int64 [B] in 0..N-1, each at least once; in regression the targets, float32 [B, T]."""
    features: NDArray[np.float32]
    """float32 [B, D]"""
    logits: NDArray[np.float32]
    """float32 [B, N]; in regression the values, float32 [B, T]."""
    tolerance: float

    def images(self, preprocessing: Preprocessing) -> NDArray[np.uint8]:
        """uint8 [B, H, W, C], by nearest repetition: image[y, x] = pixels[y * g // H, x * g // W]."""
        size = self.pixels.shape[1]
        rows = np.arange(preprocessing.height) * size // preprocessing.height
        columns = np.arange(preprocessing.width) * size // preprocessing.width
        return np.ascontiguousarray(self.pixels[:, rows[:, None], columns])


@dataclass(frozen=True, kw_only=True)
class Manifest(ModelCard):
    """The card of a bundle, and what a reader of its graphs needs beside it.

    Attributes:
        feature_size: D, the length of a feature vector.
        head_state: the names of the head state's tensors in the order of `adapt`'s outputs.
        golden: what the graphs must give.
        graphs: SHA-256 of each graph in hexadecimal; `write_bundle` fills it in.
    """

    feature_size: int
    head_state: tuple[str, ...]
    golden: Golden | None = None
    graphs: Mapping[str, str] = field(default_factory=dict)


def manifest_to_json(manifest: Manifest, path: str, least_version: int = 1) -> bytes:
    """The bytes of `manifest.json`; `path` is the bundle's, for messages, and the rest of it needs `least_version`."""
    preprocessing, golden = manifest.preprocessing, manifest.golden
    seen = {"part": float(preprocessing.part), "ground": preprocessing.ground}
    as_it_is = seen == {"part": 1, "ground": "any"}
    version = 4 if not as_it_is else 3 if manifest.support_views else 1 if manifest.precision == "fp32" else 2
    version = max(
        version, least_version, 1 if manifest.priors is None else 5, 6 if manifest.task == "regression" else 1
    )
    precision = {} if version == 1 else {"precision": manifest.precision}
    views = {} if version < 3 else {"support_views": [asdict(view) for view in manifest.support_views]}
    priors = {} if manifest.priors is None else {"priors": asdict(manifest.priors)}
    value = {
        "format_version": version,
        "task": manifest.task,
        "name": manifest.name,
        "method": manifest.method,
        "preprocessing": {
            "height": preprocessing.height,
            "width": preprocessing.width,
            "channels": preprocessing.channels,
            "resize": preprocessing.resize,
            "crop": preprocessing.crop,
            **({} if version < 4 else seen),
        },
        "feature_size": manifest.feature_size,
        "default_steps": manifest.default_steps,
        "head_state": manifest.head_state,
        "max_ways": manifest.max_ways,
        "max_support": manifest.max_support,
        "trained_on": manifest.trained_on,
        "accuracy": [asdict(accuracy) for accuracy in manifest.accuracy],
        "license": manifest.license,
        "golden": None if golden is None else _golden_to_json(golden),
        "graphs": {name: manifest.graphs[name] for name in GRAPHS},
        **precision,
        **views,
        **priors,
    }
    return dump_json(value, f"{path}: manifest.json")


def manifest_from_json(data: bytes, path: str) -> Manifest:
    """Reads `manifest.json`; `path` is the bundle's, for messages. Raises BundleError."""
    where = f"{path}: manifest.json"
    value = load_json(data, where)
    fields = Fields(value, where)
    # Before everything else: of another version, nothing else is known.
    version = fields.integer("format_version", 1)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{path} has format version {version}, and this edge-adapt reads versions 1 to {FORMAT_VERSION}; "
            "update edge-adapt."
        )
    task = fields.choice("task", TASKS)
    preprocessing = _preprocessing(fields.child("preprocessing"), version)
    feature_size = fields.integer("feature_size", 1)
    golden = None if fields.is_null("golden") else fields.child("golden")
    graphs = fields.child("graphs")
    manifest = Manifest(
        name=fields.line("name"),
        task=task,
        method=fields.line("method"),
        preprocessing=preprocessing,
        feature_size=feature_size,
        default_steps=fields.integer("default_steps", 0, MAX_STEPS),
        head_state=_head_state(fields),
        max_ways=None if fields.is_null("max_ways") else fields.integer("max_ways", 1),
        max_support=None if fields.is_null("max_support") else fields.integer("max_support", 1),
        trained_on=fields.line("trained_on", empty=True),
        accuracy=tuple(_accuracy(Fields(item, f'{where} ("accuracy")')) for item in fields.items("accuracy")),
        license=fields.line("license", empty=True),
        golden=None if golden is None else _golden(golden, task, preprocessing, feature_size),
        precision="fp32" if version == 1 else fields.choice("precision", PRECISIONS[version == 2 :]),
        support_views=() if version < 3 else _support_views(fields, version),
        graphs={name: graphs.sha256(name) for name in GRAPHS},
        priors=_priors(fields.child("priors")) if version >= 5 and "priors" in fields else None,
    )
    graphs.done()
    fields.done()
    return manifest


def _preprocessing(fields: Fields, version: int) -> Preprocessing:
    try:
        preprocessing = Preprocessing(
            height=fields.integer("height", 1),
            width=fields.integer("width", 1),
            channels=fields.integer("channels", 1),
            resize=fields.line("resize"),
            crop=fields.line("crop"),
            part=1.0 if version < 4 else fields.number("part", LEAST_PART, 1),
            ground="any" if version < 4 else fields.choice("ground", GROUNDS),
        )
    except BundleError:
        raise
    except EdgeAdaptError as error:
        raise BundleError(f"{fields.where}: {error}") from error
    fields.done()
    return preprocessing


def _head_state(fields: Fields) -> tuple[str, ...]:
    names = fields.items("head_state", MAX_HEAD_TENSORS)
    for name in names:
        if not isinstance(name, str) or not _TENSOR_NAME.fullmatch(name) or name in _GRAPH_NAMES:
            fields.fail(f'has "head_state" with {quoted(name)}, which cannot name a tensor')
    if not names or len(set(names)) != len(names):
        fields.fail('has "head_state" that is empty or names a tensor twice')
    return tuple(names)


def _support_views(fields: Fields, version: int) -> tuple[View, ...]:
    views = []
    for item in fields.items("support_views", MOST_VIEWS):
        view = Fields(item, f'{fields.where} ("support_views")')
        views.append(View(view.number("part", LEAST_PART, 1), view.boolean("mirrored")))
        view.done()
    if (not views and version == 3) or View() in views:
        fields.fail('has "support_views" that are none, or one that takes the image as it is')
    return tuple(views)


def _priors(fields: Fields) -> Priors:
    priors = Priors(
        score=fields.number("score", -MOST_PRIOR, MOST_PRIOR),
        score_of_one_shot=fields.number("score_of_one_shot", -MOST_PRIOR, MOST_PRIOR),
        score_spread=fields.number("score_spread", 0, MOST_PRIOR),
        temperature=fields.number("temperature", -MOST_PRIOR, MOST_PRIOR),
        temperature_of_one_shot=fields.number("temperature_of_one_shot", -MOST_PRIOR, MOST_PRIOR),
    )
    fields.done()
    return priors


def _accuracy(fields: Fields) -> Accuracy:
    accuracy = Accuracy(
        data=fields.line("data"),
        n_way=fields.integer("n_way", 1),
        n_shot=fields.integer("n_shot", 1),
        n_query=fields.integer("n_query", 1),
        episodes=fields.integer("episodes", 1),
        accuracy=fields.number("accuracy", 0, 1),
        ci95=fields.number("ci95", 0, 1),
    )
    fields.done()
    return accuracy


def _golden_to_json(golden: Golden) -> dict[str, object]:
    return {
        "pixels": _array_to_json(golden.pixels),
        "labels": _array_to_json(golden.labels),
        "features": _array_to_json(golden.features),
        "logits": _array_to_json(golden.logits),
        "tolerance": float(golden.tolerance),
    }


def _golden(fields: Fields, task: str, preprocessing: Preprocessing, feature_size: int) -> Golden:
    pixels = _array(fields.child("pixels"), "uint8", (None, None, None, preprocessing.channels))
    images = pixels.shape[0]
    if images > 1 and images * preprocessing.height * preprocessing.width > MAX_GOLDEN_PIXELS:
        fields.fail(f"has {images} images, which blown up have more than {MAX_GOLDEN_PIXELS:,} pixels")
    logits = _array(fields.child("logits"), "float32", (images, None))
    if task == "regression":
        labels = _array(fields.child("labels"), "float32", logits.shape)
    else:
        labels = _array(fields.child("labels"), "int64", (images,))
    golden = Golden(
        pixels=pixels,
        labels=labels,
        features=_array(fields.child("features"), "float32", (images, feature_size)),
        logits=logits,
        tolerance=fields.number("tolerance", 0, 1),
    )
    fields.done()
    if pixels.shape[1] != pixels.shape[2]:
        fields.fail("has pixels that are not square")
    if task == "classification" and set(labels.tolist()) != set(range(logits.shape[1])):
        fields.fail("has labels that are not the classes of its logits, each at least once")
    return golden


def _array_to_json(array: NDArray[Any]) -> dict[str, object]:
    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
    return {
        "dtype": array.dtype.name,
        "shape": array.shape,
        "base64": binascii.b2a_base64(data, newline=False).decode("ascii"),
    }


def _array(fields: Fields, dtype: str, expected: tuple[int | None, ...]) -> NDArray[Any]:
    fields.choice("dtype", (dtype,))
    shape, text = fields.items("shape", len(expected)), fields.take("base64")
    fields.done()
    if len(shape) != len(expected) or not all(
        type(length) is int and (0 < length <= LARGEST_INTEGER if wanted is None else length == wanted)
        for length, wanted in zip(shape, expected, strict=True)
    ):
        fields.fail("has a shape that does not fit the others or the feature size")
    try:
        data = binascii.a2b_base64(text)
    except (ValueError, TypeError):
        data = b""
    # Decoders pass over stray characters; this one does not.
    if binascii.b2a_base64(data, newline=False).decode("ascii") != text:
        fields.fail("is not base64")
    little = np.dtype(dtype).newbyteorder("<")
    if len(data) != math.prod(shape) * little.itemsize:
        fields.fail("has a shape that does not match its number of bytes")
    array = np.frombuffer(data, little).reshape(shape).astype(dtype)
    if not np.isfinite(array).all():
        fields.fail("has a value that is not finite")
    return array
