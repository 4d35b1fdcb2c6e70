"""A device checks a bundle against the bundle's own golden vectors: the same pixels must give the same numbers everywhere."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_adapt.runtime.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge_adapt.runtime.graphs import Graphs


def self_check(graphs: Graphs) -> dict[str, float]:
    """Run the graphs on the golden images and compare what they give with what they must give.

    Returns:
        The largest error of `features` and of `logits`, each relative to max(1, largest magnitude expected); empty where the
        bundle has no golden vectors, or is of a task that is not run here.

    Raises:
        BundleError: an error is above the bundle's tolerance, or a graph cannot be run.
    """
    manifest = graphs.manifest
    golden = manifest.golden
    if golden is None or manifest.task != "classification":
        return {}
    # One by one: the pixels of all of them, and what a graph makes of them, may be a thousand times those of the file.
    alone = (replace(golden, pixels=golden.pixels[index : index + 1]) for index in range(len(golden.pixels)))
    features = np.concatenate([graphs.embed(image.images(manifest.preprocessing)) for image in alone])
    state, _ = graphs.adapt(features, golden.labels, golden.logits.shape[1], manifest.default_steps)
    logits = graphs.predict(features, state)
    errors = {"features": _error(features, golden.features), "logits": _error(logits, golden.logits)}
    for what, error in errors.items():
        if not error <= golden.tolerance:
            raise BundleError(
                f"{graphs.bundle.path} does not compute here what it should: its golden {what} are off by {error:.1e} with "
                f"{graphs.provider}, and {golden.tolerance:.1e} is allowed; try --provider cpu or another ONNX Runtime."
            )
    return errors


def _error(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """NaN, which is no error that could be allowed, where something is not finite; infinite where the shapes differ."""
    if given.shape != expected.shape:
        return float("inf")
    return float(np.abs(given - expected).max()) / max(1.0, float(np.abs(expected).max()))
