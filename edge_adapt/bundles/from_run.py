"""A meta-training run to one `.edge` file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_adapt.bundles.provenance import Provenance
from edge_adapt.export.bundle import write_checked_bundle
from edge_adapt.export.embed.from_torch import embed_graph
from edge_adapt.export.gates.parity import Comparison, Reference
from edge_adapt.export.gates.precision import MOST_CALIBRATION, Precision
from edge_adapt.networks.episode_model import AllLayersModel, LearnerModel
from edge_adapt.networks.learner import Pixels
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.files import require_output
from edge_adapt.runtime.images.folders import list_images
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from edge_adapt.training.card import card_of_run
from edge_adapt.training.run import load_learner, load_sample


def export_bundle(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    provenance: Provenance = Provenance(),  # noqa: B008  (frozen)
    backbone: nn.Module | None = None,
    all_layers: bool = False,
    precision: Precision = Precision(),  # noqa: B008  (frozen)
    report: Callable[[Comparison], None] = lambda comparison: None,
) -> None:
    """Write the model of a run as a bundle, after the parity gate has compared it with PyTorch.

    Whatever the inner loop touched in meta-training, the bundle adapts the last layer, unless told otherwise.

    Args:
        run: the folder that `train` wrote.
        path: the `.edge` file to write.
        provenance: name, licence and data, where the bundle should say others than the run.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        all_layers: the bundle adapts all layers, as in meta-training with MAML; of the backbone conv4 alone. Its features are
            the images' pixels, which a classifier keeps, and adapting takes many times as long.
        precision: of the backbone, and what a lower one may cost.
        report: is called with each comparison of the gate.

    Raises:
        EdgeAdaptError: the run cannot be read, the backbone cannot be exported, all layers of it cannot be adapted or are not to
            be in float32, the bundle disagrees with PyTorch, a lower
            precision costs too much accuracy, the images to calibrate with are too few or cannot be read, or the file cannot be
            written, or would replace what it is made from.
    """
    if all_layers and precision.name != "fp32":
        raise EdgeAdaptError(
            f"a bundle that adapts all layers has no backbone at rest to bring to {precision.name}; leave out the precision."
        )
    calibrate = precision.calibrate
    require_output(path, run, *([calibrate] if isinstance(calibrate, (str, os.PathLike)) else []))
    learner, checkpoint = load_learner(run, backbone, all_layers)
    sample, card = load_sample(run), card_of_run(run, checkpoint, all_layers)
    if precision.name == "int8":
        images = _calibration_images(sample if calibrate is None else calibrate, card.preprocessing)
        precision = replace(precision, calibrate=images)
    model: LearnerModel
    embedding: nn.Module
    if all_layers:
        loop, head = learner.all_layers()
        model, embedding = AllLayersModel(learner, torch.device("cpu"), card.preprocessing), Pixels(learner.embedding)
        graphs = loop.graphs(learner.embedding.backbone, head, card.preprocessing)
    else:
        model, embedding = LearnerModel(learner, torch.device("cpu")), learner.embedding
        graphs = learner.head.graphs(model.embed(sample.images[:1]).shape[1])
    write_checked_bundle(
        path,
        embed_graph(embedding, card.preprocessing),
        graphs,
        provenance.fill_in(card, path),
        Reference(model, sample, all_layers=all_layers),
        report,
        precision,
    )


def _calibration_images(
    source: str | os.PathLike[str] | ImageDataset | NDArray[np.uint8], preprocessing: Preprocessing
) -> NDArray[np.uint8]:
    """Up to `MOST_CALIBRATION` images, spread over what there is."""
    shape = (preprocessing.height, preprocessing.width, preprocessing.channels)
    if isinstance(source, (str, os.PathLike)):
        files = list_images(source)
        loaded = (
            load_image(files[index].read(), files[index].name, preprocessing.decoded_size)
            for index in _spread(len(files))
        )
        return np.stack([preprocess(image.image, preprocessing) for image in loaded])
    images = source.images if isinstance(source, ImageDataset) else source
    if images.dtype != np.uint8 or images.shape[1:] != shape:
        due = ", ".join(map(str, shape))
        raise DataError(
            f"the images to calibrate with are {images.dtype} {list(images.shape)} where uint8 [images, {due}] are needed; "
            "preprocess them as the model does."
        )
    return np.ascontiguousarray(images[_spread(len(images))])


def _spread(count: int) -> NDArray[np.int64]:
    """Up to `MOST_CALIBRATION` indices below `count`, as far from each other as they can be."""
    chosen = min(count, MOST_CALIBRATION)
    return np.arange(chosen, dtype=np.int64) * count // max(1, chosen)
