"""Methods: what meta-training can train, one in each file, each with its paper."""

from __future__ import annotations

from edge_adapt.methods import (
    anil,
    classify,
    distil,
    head_alone,
    maml,
    matching,
    memory,
    meta_sgd,
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
    "classify": classify.METHOD,
    "distil": distil.METHOD,
    "head": head_alone.METHOD,
}
"""By the name that `--method` takes."""
