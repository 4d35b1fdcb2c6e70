"""A classifier as one plain ONNX graph, for programs that know no more than to run a model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser

from edge_adapt.export.heads.metric import LEAST_LENGTH
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.rejection import UNKNOWN_AT, logistic_scale
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.runtime.model import load_classifier

_ANSWER = """
<ir_version: 8, opset_import: ["" : 18]>
answer (float[B, {D}] features, float[B, {N}] logits) => (float[B, {N}] probabilities, int64[B] index{outputs})
{{
    largest = ReduceMax (logits, last)
    behind = Sub(logits, largest)
    tempered = Div(behind, temperature)
    probabilities = Softmax <axis = -1> (tempered)
    index = ArgMax <axis = -1, keepdims = 0> (logits)
    {familiarity}
}}
"""

_FAMILIARITY = """
    lengths = ReduceL2(features, last)
    divisors = Max(lengths, least_length)
    unit = Div(features, divisors)
    cosines = MatMul(unit, prototypes)
    nearest = ReduceMax <keepdims = 0> (cosines, last)
    unlike = Sub(nearest, common)
    of_prototype = Mul(unlike, weight_of_prototype)
    mean = ReduceMean <keepdims = 0> (behind, last)
    above = Neg(mean)
    of_logit = Mul(above, weight_of_logit)
    alike = Add(of_prototype, of_logit)
    {strangeness}
    ahead = Sub(score, mean_score)
    scaled = Div(ahead, scale)
    familiarity = Sigmoid(scaled)
"""
"""As `edge_adapt.runtime.classifier.rejection` has it."""

_STRANGENESS = """
    cosines_to_others = MatMul(unit, others)
    nearest_other = ReduceMax <keepdims = 0> (cosines_to_others, last)
    above_common = Sub(nearest_other, common)
    strangeness = Mul(above_common, weight_of_other)
    score = Sub(alike, strangeness)
"""
_NO_STRANGENESS = "score = Identity(alike)"


def bake(
    classifier: Classifier | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    unknown_at: float = UNKNOWN_AT,
    metadata: str | os.PathLike[str] | None = None,
) -> None:
    """Write a classifier as one ONNX graph of ordinary operators, opset 18: images in, answers out.

    Its input is `images`, uint8 [B, H, W, C], already brought to the size that the metadata says, RGB or grey. Its outputs are
    `probabilities` float32 [B, N], after the classifier's temperature; `index` int64 [B], of the most probable class; and, for a
    model with priors, `familiarity` float32 [B], 0 to 1: an image with less than `unknown_at` is of none of the classes. The
    file's metadata, each as JSON, are `labels`, `preprocessing` (as in the manifest of a bundle), `unknown_at`, `name` and
    `license`. The features of single photos are not in it, but for photos of no class.

    Args:
        classifier: an adapted classifier, or its file.
        path: the file to write.
        unknown_at: the share of images of the classes that may be taken for unknown; 0: none.
        metadata: a file to write the metadata to, as JSON, for programs that do not get at those of a graph.

    Raises:
        BundleError: the file is no classifier.
        EdgeAdaptError: a share outside 0..1, or a file cannot be written.
    """
    if not 0 <= unknown_at < 1:
        raise EdgeAdaptError(f"unknown_at is {unknown_at:g}; take a share from 0 to below 1.")
    mine = classifier if isinstance(classifier, Classifier) else load_classifier(classifier)
    data = baked(mine, unknown_at)
    write_atomically(path, lambda stream: stream.write(data))
    if metadata is not None:
        text = json.dumps(_metadata(mine, unknown_at), ensure_ascii=False, indent=2) + "\n"
        write_atomically(metadata, lambda stream: stream.write(text.encode()))


def baked(classifier: Classifier, unknown_at: float = UNKNOWN_AT) -> bytes:
    """The bytes of what `bake` writes."""
    bundle = classifier.graphs.bundle
    embed, predict = (onnx.load_from_string(bundle.graph(name)).graph for name in ("embed.onnx", "predict.onnx"))
    _rename(embed, "embed/", ("images", "features"))
    state = classifier.adaptation.head_state
    predict.initializer.extend(numpy_helper.from_array(array, name) for name, array in state.items())
    _rename(predict, "predict/", ("features", "logits"))
    model = _answer(classifier)
    parts = (embed, predict, model.graph)
    graph = helper.make_graph(
        [node for part in parts for node in part.node],
        "classifier",
        embed.input,
        model.graph.output,
        [array for part in parts for array in part.initializer],
    )
    model.graph.CopyFrom(graph)
    said = _metadata(classifier, unknown_at).items()
    helper.set_model_props(model, {key: json.dumps(value, ensure_ascii=False) for key, value in said})
    onnx.checker.check_model(model, full_check=True)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _rename(graph: onnx.GraphProto, prefix: str, kept: Iterable[str]) -> None:
    """Put a prefix before all names but those kept, in the bodies of loops too, which see the names around them."""
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name if name in kept or not name else prefix + name for name in names]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, prefix, kept)
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = item.name if item.name in kept else prefix + item.name


def _answer(classifier: Classifier) -> onnx.ModelProto:
    """Features and logits to probabilities, index and familiarity."""
    known, likeness = classifier.self_knowledge, classifier.likeness
    constants: dict[str, Any] = {"temperature": known.temperature if known else 1}
    familiarity = strangeness = ""
    if known and likeness:
        weights, strangeness = likeness.weights, _STRANGENESS if len(likeness.others) else _NO_STRANGENESS
        familiarity = _FAMILIARITY.format(strangeness=strangeness)
        constants |= {
            "least_length": LEAST_LENGTH,
            "prototypes": likeness.prototypes.T,
            "common": weights.common,
            "weight_of_prototype": weights.prototype,
            "weight_of_logit": weights.logit,
            "mean_score": known.score,
            "scale": logistic_scale(known.score_spread),
        }
        if len(likeness.others):
            constants |= {"others": likeness.others.T, "weight_of_other": weights.other}
    model = parser.parse_model(
        _ANSWER.format(
            D=classifier.manifest.feature_size,
            N=len(classifier.labels),
            outputs=", float[B] familiarity" if familiarity else "",
            familiarity=familiarity,
        )
    )
    arrays: dict[str, NDArray[Any]] = {name: np.asarray(value, np.float32) for name, value in constants.items()}
    arrays["last"] = np.array([-1], np.int64)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


def _metadata(classifier: Classifier, unknown_at: float) -> dict[str, Any]:
    manifest = classifier.manifest
    return {
        "labels": classifier.labels,
        "preprocessing": asdict(manifest.preprocessing),
        "unknown_at": unknown_at,
        "name": manifest.name,
        "license": manifest.license,
    }
