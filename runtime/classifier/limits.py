"""What a model can be adapted to."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge_adapt.runtime.bundle.strict_json import is_line
from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.graphs import Graphs

if TYPE_CHECKING:
    from typing import SupportsIndex

MAX_WAYS = 200
"""Classes that `adapt` takes at most."""


def check_classes(graphs: Graphs, counts: Mapping[str, int]) -> None:
    """Raise DataError unless the model can adapt to classes with so many images each, BundleError if it does not classify."""
    graphs.check_task()
    manifest = graphs.manifest
    if len(counts) < 2:
        found = ", ".join(map(str, counts)) or "none"
        raise DataError(f"adapting needs two classes or more ({found} given); add images of something else.")
    for label, count in counts.items():
        if not isinstance(label, str) or not label or not is_line(label):
            raise DataError(f"{label!r} cannot be a class name, which is one line of text; rename the class.")
        if not count:
            raise DataError(f"class {label!r} has no images; add some or leave the class out.")
    ways, support = min(manifest.max_ways or MAX_WAYS, MAX_WAYS), manifest.max_support
    total = sum(counts.values())
    if len(counts) > ways:
        raise DataError(f"there are {len(counts)} classes and {manifest.name} takes at most {ways}; leave some out.")
    if support is not None and total > support:
        raise DataError(
            f"there are {total} support images and {manifest.name} takes at most {support}; leave some out."
        )


def checked_steps(graphs: Graphs, steps: SupportsIndex | None) -> int:
    """The number of steps to take; raises EdgeAdaptError as `adapt` does."""
    if steps is None:
        return graphs.manifest.default_steps
    try:
        count = operator.index(steps)
    except TypeError:
        raise EdgeAdaptError(
            f"{steps!r} steps are not possible; give a whole number, or None for the model's."
        ) from None
    if not 0 <= count <= MAX_STEPS:
        raise EdgeAdaptError(f"{count} steps are not possible; give 0 or more, {MAX_STEPS} at most.")
    if count and not graphs.takes_steps:
        raise EdgeAdaptError(f"{graphs.manifest.name} takes no gradient steps; leave the number of steps out.")
    return count
