"""A meta-training run to one `.edge` file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edge_adapt.export.bundle import Description, write_checked_bundle
from edge_adapt.export.embed.from_torch import embed_graph
from edge_adapt.export.gates.parity import Comparison
from edge_adapt.export.gates.precision import ALLOWED_DROP, MOST_CALIBRATION, Reduction
from edge_adapt.networks.episode_model import LearnerModel
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.files import require_output
from edge_adapt.runtime.images.folders import list_images
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.images.preprocessing import Preprocessing, preprocess
from edge_adapt.training.run import load_learner, load_sample


def export_bundle(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    name: str = "",
    license: str = "",
    backbone: nn.Module | None = None,
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    calibrate: str | os.PathLike[str] | ImageDataset | NDArray[np.uint8] | None = None,
    allow_drop: float = ALLOWED_DROP,
    report: Callable[[Comparison], None] = lambda comparison: None,
) -> None:
    """Write the model of a run as a bundle, after the parity gate has compared it with PyTorch.

    Whatever the inner loop touched in meta-training, the bundle adapts the last layer.

    Args:
        run: the folder that `train` wrote.
        path: the `.edge` file to write.
        name: of the model; by default the file's.
        license: of the weights, an SPDX expression or a sentence.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        precision: of the backbone: fp32; fp16, which stores its weights in half; or int8, which computes in 8 bits.
        calibrate: images as the model will see them, to find the ranges of int8 with: a folder or zip of images, a data set, or
            images uint8 [I, H, W, C] of the model's size. By default those that the run kept.
        allow_drop: percentage points of accuracy after adaptation that a lower precision may cost.
        report: is called with each comparison of the gate.

    Raises:
        EdgeAdaptError: the run cannot be read, the backbone cannot be exported, the bundle disagrees with PyTorch, a lower
            precision costs too much accuracy, the images to calibrate with are too few or cannot be read, or the file cannot be
            written, or would replace what it is made from.
    """
    require_output(path, run, *([calibrate] if isinstance(calibrate, (str, os.PathLike)) else []))
    if calibrate is not None and precision != "int8":
        raise EdgeAdaptError(
            f"images to calibrate with are for int8, and the precision is {precision}; leave them out."
        )
    learner, checkpoint = load_learner(run, backbone)
    config = checkpoint.config
    sample = load_sample(run)
    images = None
    if precision == "int8":
        images = _calibration_images(sample if calibrate is None else calibrate, config.preprocessing)
    reduction = Reduction(precision, images, allow_drop)
    embed = embed_graph(learner.embedding, config.preprocessing)
    model = LearnerModel(learner, torch.device("cpu"))
    feature_size = model.embed(sample.images[:1]).shape[1]
    description = Description(
        name=name or Path(path).stem,
        method=config.method.name,
        preprocessing=config.preprocessing,
        default_steps=config.method.inner_steps,
        trained_on=checkpoint.trained_on,
        license=license,
        support_views=config.support_views,
    )
    write_checked_bundle(path, embed, learner.head.graphs(feature_size), description, model, sample, report, reduction)


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
