"""An ONNX feature extractor as the graph `embed`: uint8 images in, features of length 1 out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from edge_adapt.export.embed.extractor import HALF_TOLERANCE, Extractor
from edge_adapt.export.model_proto import finish
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.sessions import Session
from edge_adapt.runtime.words import first_line

_PREFIX = "extractor/"

_Step = tuple[str, list[str], dict[str, Any]]
"""A node to be: its operator, its inputs after the first, its attributes."""

_DTYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.UINT8: np.uint8,
}


@dataclass(frozen=True)
class PixelNormalization:
    """What an extractor wants done to pixels in 0..1: less `mean`, over `std`; one number a channel, or one for all."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def for_channels(self, channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and std in 0..255, float32 [C] each; for one channel, of three numbers their average.

        Raises:
            EdgeAdaptError: so many numbers are not for so many channels, or a std is not above 0.
        """
        columns = []
        for what, numbers in (("mean", self.mean), ("std", self.std)):
            fitting = (float(np.mean(numbers)),) if channels == 1 else numbers * (channels if len(numbers) == 1 else 1)
            if len(fitting) != channels:
                raise EdgeAdaptError(f"the {what} has {len(numbers)} numbers; give 1 or {channels}.")
            columns.append(255 * np.array(fitting, np.float32))
        if not (np.isfinite(columns).all() and columns[1].min() > 0):
            raise EdgeAdaptError("mean and std are not finite with a std above 0; give them for pixels in 0..1.")
        return columns[0], columns[1]


NORMALIZATIONS = {
    "imagenet": PixelNormalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "unit": PixelNormalization((0.0,), (1.0,)),
    "symmetric": PixelNormalization((0.5,), (0.5,)),
    "none": PixelNormalization((0.0,), (1 / 255,)),
}
"""By name: ImageNet's mean and std, 0..1, -1..1, and 0..255 as they are."""


def embed_around(extractor: Extractor, normalization: PixelNormalization | None) -> onnx.ModelProto:
    """The model `images` uint8 [B, H, W, C] -> `features` float32 [B, D], features as the extractor gives them.

    Args:
        extractor: what to wrap; a feature map [B, C, H, W] is averaged over its pixels.
        normalization: of the pixels; None for an extractor that takes uint8.

    Raises:
        EdgeAdaptError: it does not give features, or only in batches of one size.
    """
    size = extractor.preprocessing
    model = compose.add_prefix(extractor.model, _PREFIX)
    graph = model.graph
    before, constants = _before(extractor, normalization)
    constants["pixels_of_map"] = np.array([2, 3] if extractor.channels_first else [1, 2], np.int64)
    output = _trial(extractor)
    after: list[_Step] = []
    if output.dtype != np.float32:
        after.append(("Cast", [], {"to": TensorProto.FLOAT}))
    if output.ndim == 4:
        after.append(("ReduceMean", ["pixels_of_map"], {"keepdims": 0}))
    nodes = [
        *_chain("images", before, _PREFIX + extractor.input),
        *graph.node,
        *_chain(_PREFIX + extractor.output, after, "features"),
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items() if name in used)
    del graph.input[:], graph.output[:]
    shape: list[int | str] = ["B", size.height, size.width, size.channels]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.UINT8, shape))
    graph.output.append(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "D"]))
    graph.name = "embed"
    if extractor.batch is not None:
        try:
            onnx.shape_inference.infer_shapes(model, strict_mode=True)
        except onnx.shape_inference.InferenceError as error:
            raise _not_freed(extractor) from error
    return model


def centred(model: onnx.ModelProto, mean: NDArray[np.float32]) -> onnx.ModelProto:
    """What `embed_around` gave, with the mean [D] taken from the features and their length brought to 1."""
    centred = onnx.ModelProto()
    centred.CopyFrom(model)
    graph = centred.graph
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == "features":
                node.output[index] = "raw_features"
    graph.node.extend(
        [
            helper.make_node("Sub", ["raw_features", "mean_of_features"], ["centred_features"]),
            helper.make_node("ReduceL2", ["centred_features", "last_axis"], ["lengths"], keepdims=1),
            helper.make_node("Max", ["lengths", "least_length"], ["safe_lengths"]),
            helper.make_node("Div", ["centred_features", "safe_lengths"], ["features"]),
        ]
    )
    constants: dict[str, NDArray[Any]] = {
        "mean_of_features": mean,
        "last_axis": np.array([-1], np.int64),
        "least_length": np.array(1e-12, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(mean)
    return centred


def finished(model: onnx.ModelProto, path: str) -> bytes:
    """`model_proto.finish` of a model that came from a file of somebody's own.

    Raises:
        EdgeAdaptError: it is not valid ONNX, or a device would refuse it.
    """
    try:
        return finish(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, BundleError) as error:
        reason = first_line(error)
        raise EdgeAdaptError(f"{path} does not fit into a bundle ({reason}); export it again.") from error


class OriginalExtractor:
    """The extractor's own file, run as its author would, to compare the wrapped graph with.

    Args:
        extractor: the file.
        normalization: as of `embed_around`.
        threads: of the CPU; None takes all cores.
    """

    def __init__(
        self, extractor: Extractor, normalization: PixelNormalization | None, threads: int | None = None
    ) -> None:
        self._extractor = extractor
        self._normalization = normalization
        self._session = Session(
            extractor.original.SerializeToString(), extractor.path, (extractor.input,), "cpu", threads
        )

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [B, H, W, C] to float32 [B, D]."""
        extractor = self._extractor
        pixels: NDArray[np.generic] = images
        if self._normalization is not None:
            mean, std = self._normalization.for_channels(images.shape[-1])
            pixels = (images.astype(np.float32) - mean) / std
        if extractor.channels_first:
            pixels = pixels.transpose(0, 3, 1, 2)
        pixels = np.ascontiguousarray(pixels, _DTYPES[extractor.input_type])
        together = extractor.batch or len(pixels)
        features = []
        for start in range(0, len(pixels), together):
            piece = pixels[start : start + together]
            missing = together - len(piece)
            full = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)])
            found = np.asarray(self._session.run({extractor.input: full})[0])
            features.append(found[: len(piece)] if len(found) == together else found)
        together_features = np.concatenate(features).astype(np.float32)
        if together_features.ndim == 4:
            together_features = together_features.mean(axis=(2, 3) if extractor.channels_first else (1, 2))
        return together_features


def check_features(extractor: Extractor, original: OriginalExtractor, embed: bytes) -> None:
    """Try both on a few images, before many go through.

    Raises:
        EdgeAdaptError: the features are not finite, or a batch gives something else than its images one by one.
    """
    size = extractor.preprocessing
    images = np.random.default_rng(0).integers(0, 256, (3, size.height, size.width, size.channels), np.uint8)
    expected = original(images)
    if not np.isfinite(expected).all():
        raise EdgeAdaptError(
            f"{extractor.path} gives features that are not finite; see whether its pixels are normalized right."
        )
    try:
        found = Session(embed, extractor.path, ("images",)).run({"images": images})[0]
    except BundleError:
        found = np.empty(0, np.float32)
    scale = max(float(np.abs(expected).max()), 1e-30)
    allowed = HALF_TOLERANCE if extractor.half else 1e-3
    if found.shape != expected.shape or np.abs(found - expected).max() > allowed * scale:
        raise _not_freed(extractor)


def _not_freed(extractor: Extractor) -> EdgeAdaptError:
    return EdgeAdaptError(
        f"{extractor.path} is made for batches of {extractor.batch or 'one size'} and cannot be freed from that; export it "
        'with a dynamic batch (torch.onnx.export(..., dynamic_shapes=({0: "B"},))).'
    )


def _trial(extractor: Extractor) -> NDArray[np.floating]:
    """What the extractor makes of black images: features, or a feature map.

    Raises:
        EdgeAdaptError: neither.
    """
    size = extractor.preprocessing
    shape: Sequence[int] = (size.height, size.width, size.channels)
    if extractor.channels_first:
        shape = (size.channels, size.height, size.width)
    batch = extractor.batch or 2
    session = Session(extractor.original.SerializeToString(), extractor.path, (extractor.input,))
    output = np.asarray(session.run({extractor.input: np.zeros((batch, *shape), _DTYPES[extractor.input_type])})[0])
    if output.ndim not in (2, 4) or len(output) != batch or not np.issubdtype(output.dtype, np.floating):
        raise EdgeAdaptError(
            f"{extractor.path} gives {extractor.output} as {output.dtype} {list(output.shape)} for {batch} images where float "
            f"features [{batch}, D] or a feature map of four dimensions are needed; name another tensor with --output-name."
        )
    return output


def _before(
    extractor: Extractor, normalization: PixelNormalization | None
) -> tuple[list[_Step], dict[str, NDArray[np.generic]]]:
    """What happens to the pixels before the extractor, and the constants of that."""
    steps: list[_Step] = []
    constants: dict[str, NDArray[np.generic]] = {}
    if normalization is not None:
        mean, std = normalization.for_channels(extractor.preprocessing.channels)
        constants |= {"mean_of_pixels": mean, "std_of_pixels": std}
        steps += [
            ("Cast", [], {"to": TensorProto.FLOAT}),
            ("Sub", ["mean_of_pixels"], {}),
            ("Div", ["std_of_pixels"], {}),
        ]
        if extractor.input_type != TensorProto.FLOAT:
            steps.append(("Cast", [], {"to": extractor.input_type}))
    if extractor.channels_first:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    return steps, constants


def _chain(first: str, steps: Sequence[_Step], last: str) -> list[onnx.NodeProto]:
    """Nodes that turn the tensor `first` into `last` one after another; at least one, which does nothing."""
    steps = steps or [("Identity", [], {})]
    names = [first, *(f"{last}/{index}" for index in range(1, len(steps))), last]
    return [
        helper.make_node(operator, [name, *further], [following], **attributes)
        for (operator, further, attributes), name, following in zip(steps, names[:-1], names[1:], strict=True)
    ]
