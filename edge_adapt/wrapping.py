"""Any ONNX feature extractor to one `.edge` file: a frozen backbone, and a head that is meta-learned on its features."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edge_adapt.export.bundle import Description, write_checked_bundle
from edge_adapt.export.extractor import FLOATS, read_extractor
from edge_adapt.export.parity import Comparison, Origin
from edge_adapt.export.wrapped import (
    NORMALIZATIONS,
    OriginalExtractor,
    PixelNormalization,
    centred,
    check_features,
    embed_around,
    finished,
)
from edge_adapt.frozen_features import cached_features
from edge_adapt.gradient_head import GradientHead, Initialization
from edge_adapt.methods.head_alone import STEPS, FrozenFeatures, meta_train_head
from edge_adapt.run import sample_of
from edge_adapt.runtime.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.dataset_cache import default_cache
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import require_output
from edge_adapt.runtime.sessions import Session
from edge_adapt.torch_model import HeadModel

METHOD = "frozen"
"""What a bundle's manifest calls it."""


def wrap(
    extractor: str | os.PathLike[str],
    images: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    classes: Sequence[str | os.PathLike[str]] = (),
    normalization: PixelNormalization | None = None,
    image_size: int | None = None,
    output: str | None = None,
    head: Initialization = "prototype",
    steps: int = STEPS,
    seed: int = 0,
    name: str = "",
    license: str = "",
    trained_on: str = "",
    cache: str | os.PathLike[str] | None = None,
    skip_bad: bool = False,
    threads: int | None = None,
    report: Callable[[Comparison], None] = lambda comparison: None,
    progress: bool = False,
) -> None:
    """Write a bundle whose `embed` is an ONNX feature extractor.

    The features of all images are computed once and cached. Their mean becomes part of `embed`, which takes it away and brings
    features to length 1, and the head's scale and rates are meta-learned on episodes of them.

    Args:
        extractor: an ONNX file: one input of images, float or uint8, [B, C, H, W] or [B, H, W, C], and float features [B, D] or a
            feature map, which is averaged over its pixels.
        images: a folder or zip with one sub-folder a class, to learn the head from; best classes that the extractor was not
            trained on.
        path: the `.edge` file to write.
        classes: as of `load_dataset`.
        normalization: what the extractor wants done to pixels; None takes that of ImageNet, or nothing for an extractor that
            takes uint8.
        image_size: height and width, pixels, where the file leaves them open.
        output: the tensor to take as the features; None takes the only output.
        head: what the last layer starts from.
        steps: gradient steps that the bundle takes where nothing else is said.
        seed: of the episodes.
        name: of the model; by default the file's.
        license: of the weights, an SPDX expression or a sentence.
        trained_on: the data in words, for the bundle; by default the names of `extractor` and `images`.
        cache: the folder for the features, and for pixels that do not fit into memory; None takes `default_cache()`.
        skip_bad: leave out images that cannot be read.
        threads: of the CPU; None takes all cores.
        report: is called with each comparison of the parity gate.
        progress: show bars.

    Raises:
        DataError: too few classes or images.
        EdgeAdaptError: the extractor cannot be used, or the bundle disagrees with it, cannot be written, or would replace what
            it is made from.
    """
    require_output(path, extractor, images, *classes)
    read = read_extractor(extractor, output, image_size)
    if read.input_type in FLOATS:
        normalization = normalization or NORMALIZATIONS["imagenet"]
    elif normalization is not None:
        raise EdgeAdaptError(f"{read.path} takes uint8 pixels and normalizes them itself; leave the normalization out.")
    wrapped = embed_around(read, normalization)
    embed = finished(wrapped, read.path)
    original = OriginalExtractor(read, normalization, threads)
    check_features(read, original, embed)
    data = load_dataset(images, read.preprocessing, classes, progress=progress, cache=cache, skip_bad=skip_bad)
    learner = GradientHead(head)
    directory = default_cache() if cache is None else Path(cache)
    running = HeadModel(learner, _embedding(embed, read.path, threads))
    features = cached_features(running, sha256(embed).hexdigest(), data, directory, progress)
    mean = features.mean(axis=0)
    features = _normalized(features - mean)
    starts = torch.from_numpy(data.starts)
    meta_train_head(
        learner,
        FrozenFeatures(torch.from_numpy(features), starts, data.source),
        steps=steps,
        seed=seed,
        progress=progress,
    )
    write_checked_bundle(
        path,
        finished(centred(wrapped, mean), read.path),
        learner.graphs(len(mean)),
        Description(
            name=name or Path(path).stem,
            method=METHOD,
            preprocessing=read.preprocessing,
            default_steps=steps,
            trained_on=trained_on or f"{Path(extractor).name}; its head: {_described(data)}",
            license=license,
        ),
        HeadModel(learner, lambda pixels: _normalized(original(pixels) - mean)),
        sample_of(data),
        report,
        origin=Origin(Path(extractor).name, read.half),
    )


def _described(data: ImageDataset) -> str:
    return f"{Path(data.source).resolve().stem}, {len(data.class_names)} classes, {len(data.images)} images"


def _embedding(graph: bytes, name: str, threads: int | None) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    session = Session(graph, name, ("images",), "cpu", threads)
    return lambda images: np.asarray(session.run({"images": images})[0], np.float32)


def _normalized(features: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)
