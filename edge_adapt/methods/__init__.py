"""Methods: what meta-training can train, one in each file, each with its paper."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from edge_adapt.methods.anil import ANIL
from edge_adapt.methods.distil import Distil
from edge_adapt.methods.head_only import HeadOnly
from edge_adapt.methods.maml import FOMAML, MAML
from edge_adapt.methods.matching import Matching
from edge_adapt.methods.memory import MemoryAugmented
from edge_adapt.methods.meta_sgd import MetaSGD
from edge_adapt.methods.method import Method
from edge_adapt.methods.pretrain import Pretrain
from edge_adapt.methods.protonet import ProtoNet
from edge_adapt.methods.reptile import Reptile
from edge_adapt.methods.siamese import Siamese
from edge_adapt.runtime.errors import EdgeAdaptError

_ALL: tuple[type[Method], ...] = (
    *(ANIL, MAML, FOMAML, MetaSGD, Reptile, ProtoNet, Matching, Siamese, MemoryAugmented),
    *(Pretrain, Distil, HeadOnly),
)

METHODS = {method.name: method for method in _ALL}
"""By the name that `--method` takes; only the command line and the reader of checkpoints ask it."""

SETTINGS = frozenset(field.name for method in METHODS.values() for field in fields(method))
"""Names of what methods can be told, each of them by some."""


def method_of(name: str, **settings: Any) -> Method:
    """The method of a name with these settings, and its own defaults otherwise.

    Raises:
        EdgeAdaptError: there is none of this name, or it does not have one of the settings.
    """
    if name not in METHODS:
        raise EdgeAdaptError(f"method is {name!r}; choose one of {', '.join(METHODS)}.")
    method = METHODS[name]
    for setting in sorted(settings.keys() - {field.name for field in fields(method)}):
        raise EdgeAdaptError(f"{setting} is not for the method {name}; leave it out.")
    return method(**settings)
