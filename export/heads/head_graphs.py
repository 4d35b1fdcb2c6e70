"""What the exporter of a head hands over: its two graphs, and what the manifest says of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HeadGraphs:
    """A head as graphs.

    Attributes:
        adapt: the serialized graph `adapt.onnx`.
        predict: the serialized graph `predict.onnx`.
        state: names of the head state's tensors, in the order of `adapt`'s outputs.
    """

    adapt: bytes
    predict: bytes
    state: tuple[str, ...]
