"""Any ONNX feature extractor to one `.edge` file: a frozen backbone, and a head that is meta-learned on its features."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edge_adapt.bundles.provenance import Provenance
from edge_adapt.export.bundle import write_checked_bundle
from edge_adapt.export.embed.extractor import FLOATS, Extractor, read_extractor
from edge_adapt.export.embed.from_extractor import (
    NORMALIZATIONS,
    OriginalExtractor,
    PixelNormalization,
    centred,
    check_features,
    embed_around,
    finished,
)
from edge_adapt.export.gates.parity import Comparison, Reference
from edge_adapt.methods.episodes import EpisodeSampler
from edge_adapt.methods.feature_cache import cached_features
from edge_adapt.methods.head_only import STEPS
from edge_adapt.networks.episode_model import HeadModel
from edge_adapt.networks.gradient_head import GradientHead, Initialization
from edge_adapt.runtime.bundle.card import ModelCard
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.pixel_cache import default_cache
from edge_adapt.runtime.data.source import DataSource
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import require_output
from edge_adapt.runtime.sessions import Session
from edge_adapt.training.frozen_head import FrozenHead
from edge_adapt.training.run import sample_of

METHOD = "frozen"
"""What a bundle's manifest calls it."""


@dataclass(frozen=True)
class ExtractorSettings:
    """How a feature extractor is run, where its file does not say.

    Attributes:
        normalization: what it wants done to pixels; None tries those of `NORMALIZATIONS` on the images and takes the best, or
            nothing for an extractor that takes uint8.
        image_size: height and width, pixels, where the file leaves them open.
        part: of the middle of an image, how much is seen, in height and width; 0.1 to 1.
        output: the tensor to take as the features; None takes the only output.
        threads: of the CPU; None takes all cores.
    """

    normalization: PixelNormalization | None = None
    image_size: int | None = None
    part: float = 1.0
    output: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class HeadSettings:
    """How the head is meta-learned.

    Attributes:
        initialization: what the last layer starts from.
        steps: gradient steps that the bundle takes where nothing else is said.
        seed: of the episodes.
    """

    initialization: Initialization = "prototype"
    steps: int = STEPS
    seed: int = 0


def wrap(
    extractor: str | os.PathLike[str],
    images: DataSource | str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    settings: ExtractorSettings = ExtractorSettings(),
    head: HeadSettings = HeadSettings(),
    provenance: Provenance = Provenance(),  # noqa: B008  (frozen)
    report: Callable[[Comparison], None] = lambda comparison: None,
    progress: bool = False,
) -> None:
    """Write a bundle whose `embed` is an ONNX feature extractor.

    The features of all images are computed once and cached. `embed` brings them to length 1, less their mean over the images
    first where that is better on episodes of these very images, and the head's few numbers are meta-learned on such episodes.

    Args:
        extractor: an ONNX file: one input of images, float or uint8, [B, C, H, W] or [B, H, W, C], and float features [B, D] or a
            feature map, which is averaged over its pixels.
        images: a folder or zip with one sub-folder a class, to learn the head from; best classes that the extractor was not
            trained on. The features lie in its `cache`, or in `default_cache()`.
        path: the `.edge` file to write.
        settings: how the extractor is run.
        head: how the head is meta-learned.
        provenance: name, licence and data; the data are by default the names of `extractor` and `images`.
        report: is called with each comparison of the parity gate, and before them with what was recognized.
        progress: show bars.

    Raises:
        DataError: too few classes or images.
        EdgeAdaptError: the extractor cannot be used, or the bundle disagrees with it, cannot be written, or would replace what
            it is made from.
    """
    source, normalization, threads = DataSource.of(images), settings.normalization, settings.threads
    require_output(path, extractor, *source.files)
    if threads is not None:
        torch.set_num_threads(threads)
    read = read_extractor(extractor, settings.output, settings.image_size)
    read = replace(read, preprocessing=replace(read.preprocessing, part=settings.part))
    if normalization is not None and read.input_type not in FLOATS:
        raise EdgeAdaptError(f"{read.path} takes uint8 pixels and normalizes them itself; leave the normalization out.")
    original, wrapped = _run_and_wrapped(read, normalization, threads)
    check_features(read, original, finished(wrapped, read.path))
    data = source.load(read.preprocessing, progress=progress)
    if normalization is None and read.input_type in FLOATS:
        normalization = _recognized(read, data, threads, report)
        original, wrapped = _run_and_wrapped(read, normalization, threads)
    embed = finished(wrapped, read.path)
    directory = default_cache() if source.cache is None else Path(source.cache)
    running = HeadModel(GradientHead(), _embedding(embed, read.path, threads))
    features = cached_features(running, sha256(embed).hexdigest(), data, directory, progress)
    means = {"centred": features.mean(axis=0), "as they are": np.zeros(features.shape[1], np.float32)}
    candidates = {
        name: _frozen_head(head.initialization, _normalized(features - mean), data, head.steps)
        for name, mean in means.items()
    }
    chosen = _best("features", candidates, report)
    mean, learner = means[chosen], candidates[chosen].head
    candidates[chosen].meta_train(seed=head.seed, progress=progress)
    card = ModelCard(
        name=Path(extractor).stem,
        method=METHOD,
        preprocessing=read.preprocessing,
        default_steps=head.steps,
        trained_on=f"{Path(extractor).name}; its head: {_described(data)}",
    )
    model = HeadModel(learner, lambda pixels: _normalized(original(pixels) - mean))
    write_checked_bundle(
        path,
        finished(centred(wrapped, mean), read.path),
        learner.graphs(len(mean)),
        provenance.fill_in(card, path),
        Reference(model, sample_of(data), Path(extractor).name, read.half),
        report,
    )


def _run_and_wrapped(
    read: Extractor, normalization: PixelNormalization | None, threads: int | None
) -> tuple[OriginalExtractor, onnx.ModelProto]:
    """The extractor as its author would run it, and the same inside `embed`; with ImageNet's normalization for none."""
    if read.input_type in FLOATS:
        normalization = normalization or NORMALIZATIONS["imagenet"]
    return OriginalExtractor(read, normalization, threads), embed_around(read, normalization)


def _recognized(
    read: Extractor, data: ImageDataset, threads: int | None, report: Callable[[Comparison], None]
) -> PixelNormalization:
    """What does best of `NORMALIZATIONS`, on a sample of the images."""
    sample = sample_of(data)
    candidates = {}
    for name, normalization in NORMALIZATIONS.items():
        features = OriginalExtractor(read, normalization, threads)(sample.images)
        if np.isfinite(features).all():
            candidates[name] = _frozen_head("prototype", _normalized(features), sample, STEPS)
    if not candidates:
        raise EdgeAdaptError(
            f"{read.path} gives features that are not finite, however its pixels are normalized; export it again."
        )
    return NORMALIZATIONS[_best("pixels", candidates, report)]


def _best(what: str, candidates: Mapping[str, FrozenHead], report: Callable[[Comparison], None]) -> str:
    """The first of those with the highest accuracy over the same episodes; reports all."""
    found = {name: head.expected_accuracy() for name, head in candidates.items()}
    best = max(found, key=found.__getitem__)
    shares = ", ".join(f"{name} {100 * accuracy:.1f}%" for name, accuracy in found.items())
    report(Comparison(f"{what} taken {best}", shares, passed=True))
    return best


def _frozen_head(
    initialization: Initialization, features: NDArray[np.float32], data: ImageDataset, steps: int
) -> FrozenHead:
    rows = EpisodeSampler(torch.from_numpy(features), torch.from_numpy(data.starts), torch.device("cpu"))
    return FrozenHead(initialization, rows, data.source, steps)


def _described(data: ImageDataset) -> str:
    return f"{Path(data.source).resolve().stem}, {len(data.class_names)} classes, {len(data.images)} images"


def _embedding(graph: bytes, name: str, threads: int | None) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    session = Session(graph, name, ("images",), "cpu", threads)
    return lambda images: np.asarray(session.run({"images": images})[0], np.float32)


def _normalized(features: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)
