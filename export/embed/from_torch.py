"""The backbone as one ONNX graph, `embed`: uint8 images in, features out."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from edge_adapt.export.embed.pixel_rows import normalize_rows
from edge_adapt.export.model_proto import OPSET, finish
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.words import first_line


def embed_graph(embedding: nn.Module, preprocessing: Preprocessing) -> bytes:
    """Export a module to the serialized graph `embed.onnx`, `images` uint8 [B, H, W, C] -> `features` float32 [B, D].

    Args:
        embedding: uint8 [B, H, W, C] -> float32 [B, D], any B, with no operation across the batch in evaluation mode.
        preprocessing: gives H, W and C.

    Raises:
        EdgeAdaptError: PyTorch cannot export the module.
    """
    module = copy.deepcopy(embedding).to("cpu").eval()
    # Two images: the exporter takes a dimension of 1 for a constant.
    images = torch.zeros(2, preprocessing.height, preprocessing.width, preprocessing.channels, dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                module,
                (images,),
                dynamo=True,
                opset_version=OPSET,
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes=({0: torch.export.Dim("B")},),
                verbose=False,
            )
    except Exception as error:  # the exporter wraps whatever the module's operations raise in types of its own
        name = type(getattr(embedding, "backbone", embedding)).__name__
        raise EdgeAdaptError(f"the backbone {name} cannot be exported to ONNX ({_reason(error)}).") from error
    assert program is not None  # dynamo=True without a file name returns the program
    model = program.model_proto
    model.graph.name = "embed"
    normalize_rows(model, preprocessing)
    return finish(model)


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: the exporter's own errors are advice on how to debug it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, its dumps of what fails and its warnings about packages it does not need off the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    nowhere = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
