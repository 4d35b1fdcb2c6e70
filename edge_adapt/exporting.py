"""A meta-training run to one `.edge` file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from edge_adapt.export.bundle import Description, write_checked_bundle
from edge_adapt.export.embed import embed_graph
from edge_adapt.export.gradient_head import HEAD_STATE, gradient_head_graphs
from edge_adapt.export.parity import Comparison
from edge_adapt.run import load_learner, load_sample
from edge_adapt.torch_model import LearnerModel


def export_bundle(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    name: str = "",
    license: str = "",
    backbone: nn.Module | None = None,
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
        report: is called with each comparison of the gate.

    Raises:
        EdgeAdaptError: the run cannot be read, the backbone cannot be exported, the bundle disagrees with PyTorch, or the file
            cannot be written.
    """
    learner, checkpoint = load_learner(run, backbone)
    config = checkpoint.config
    embed = embed_graph(learner.embedding, config.preprocessing)
    model = LearnerModel(learner, torch.device("cpu"))
    sample = load_sample(run)
    feature_size = model.embed(sample.images[:1]).shape[1]
    graphs = {"embed.onnx": embed, **gradient_head_graphs(learner.head.parameters_for_export(), feature_size)}
    description = Description(
        name=name or Path(path).stem,
        method=config.method,
        preprocessing=config.preprocessing,
        default_steps=config.steps,
        trained_on=checkpoint.trained_on,
        license=license,
    )
    write_checked_bundle(path, graphs, HEAD_STATE, description, model, sample, report)
