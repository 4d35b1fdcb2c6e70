"""Methods: what meta-training can train, one in each file, each with its paper."""

from __future__ import annotations

from edge_adapt.methods import anil, classify, head_alone, maml, memory, meta_sgd, reptile
from edge_adapt.methods.method import Method

METHODS: dict[str, Method] = {
    "anil": anil.METHOD,
    "maml": maml.METHOD,
    "fomaml": maml.FIRST_ORDER,
    "meta-sgd": meta_sgd.METHOD,
    "reptile": reptile.METHOD,
    "memory": memory.METHOD,
    "classify": classify.METHOD,
    "head": head_alone.METHOD,
}
"""By the name that `--method` takes."""
