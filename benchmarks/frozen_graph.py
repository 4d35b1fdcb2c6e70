"""A frozen feature extractor that bundles are compared with, with a plain head on its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.sessions import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FrozenGraph:
    """A feature extractor, `images` uint8 [B, S, S, 3] -> `features` float32 [B, D], on one thread of the CPU.

    Args:
        path: the ONNX file.

    Raises:
        EdgeAdaptError: the file takes other images.
    """

    def __init__(self, path: str) -> None:
        import onnxruntime

        self._session = Session(Path(path).read_bytes(), path, ("images",))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        (shape,) = (entry.shape for entry in onnxruntime.InferenceSession(path, options).get_inputs())
        if len(shape) != 4 or not isinstance(shape[1], int) or shape[1:] != [shape[1], shape[1], 3]:
            raise EdgeAdaptError(f"{path} takes images {shape}; export it with images [B, S, S, 3].")
        self.preprocessing = Preprocessing(shape[1], shape[1], 3)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of length 1, float32 [B, D]."""
        features: NDArray[np.float32] = self._session.run({"images": images})[0]
        return of_length_1(features)


def of_length_1(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row divided by its length."""
    unit: NDArray[np.float32] = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return unit
