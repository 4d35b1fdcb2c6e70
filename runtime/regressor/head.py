"""The head that reads values, which any model can be given: nothing of it is learned in meta-training.

`edge_adapt.export.heads.reading` writes its graphs, which lie beside this file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_adapt.runtime.graphs import Graphs

HEAD = Path(__file__).parent
"""The folder of its graphs."""

HEAD_STATE = ("weight", "bias", "taught")
"""The names of the head state's tensors, in the order of `adapt`'s outputs."""

_STEPS = 20  # each as far as all before it together: the ridge solution is reached
_MOST_SUPPORT = 200  # photos, each of which is kept as LOOKS + 1 rows
_GRAPHS = ("adapt.onnx", "predict.onnx")


def for_values(graphs: Graphs) -> Graphs:
    """A meta-model that learns values: itself, where it is one of regression, and else with this head in place of its own.

    Images are looked at as they are alone: a mirrored gauge reads something else.
    """
    if graphs.manifest.task == "regression":
        return graphs
    manifest = replace(
        graphs.manifest,
        task="regression",
        method="attention in a ridge metric",
        default_steps=_STEPS,
        head_state=HEAD_STATE,
        support_views=(),
        max_ways=None,
        max_support=_MOST_SUPPORT,
        accuracy=(),
        golden=None,
        priors=None,
    )
    return graphs.of(graphs.bundle.with_head(manifest, {name: (HEAD / name).read_bytes() for name in _GRAPHS}))
