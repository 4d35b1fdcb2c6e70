"""Methods: what meta-training can train, one in each file, each with its paper."""

from __future__ import annotations

from edge_adapt.methods import (
    anil,
    distil,
    head_only,
    maml,
    matching,
    memory,
    meta_sgd,
    pretrain,
    protonet,
    reptile,
    siamese,
)
from edge_adapt.methods.method import Method

METHODS: dict[str, Method] = {
    "anil": anil.METHOD,
    "maml": maml.METHOD,
    "fomaml": maml.FIRST_ORDER,
    "meta-sgd": meta_sgd.METHOD,
    "reptile": reptile.METHOD,
    "protonet": protonet.METHOD,
    "matching": matching.METHOD,
    "siamese": siamese.METHOD,
    "memory": memory.METHOD,
    "classify": pretrain.METHOD,
    "distil": distil.METHOD,
    "head": head_only.METHOD,
}
"""By the name that `--method` takes."""
