"""What an adapted bundle holds beyond the model: `classifier.json`, the head state and the support set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge_adapt.runtime.bundle.strict_json import LARGEST_FLOAT, Fields, dump_json, load_json, quoted
from edge_adapt.runtime.contract import MAX_STEPS
from edge_adapt.runtime.errors import BundleError
from edge_adapt.runtime.images.looks import LOOKS, PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_adapt.runtime.bundle.manifest import Manifest

SUPPORT_FEATURES = "support/features.npy"
SUPPORT_TARGETS = "support/targets.npy"
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
NO_LABEL = -1
"""In place of a label: of a photo of no class, and in regression."""


def head_entry(name: str) -> str:
    """The entry that holds the head state's tensor `name`."""
    return f"head/{name}.npy"


def array_entries(manifest: Manifest) -> tuple[str, ...]:
    """The .npy entries of an adapted bundle, in order."""
    return (*map(head_entry, manifest.head_state), SUPPORT_FEATURES, SUPPORT_TARGETS)


def shot_size(manifest: Manifest) -> int:
    """How many numbers are kept of a shot: D, and in regression those of each part of each look at it."""
    return manifest.feature_size * ((LOOKS + 1) * PARTS if manifest.task == "regression" else 1)


@dataclass(frozen=True)
class Shot:
    """One image of the support set: the index of its label (or `NO_LABEL`), its name and its SHA-256."""

    label: int
    name: str
    sha256: str


@dataclass(frozen=True)
class SelfKnowledge:
    """What a classifier found out about itself on its support set; of models with priors alone.

    Attributes:
        temperature: what logits are divided by.
        score, score_spread: the mean and standard deviation of the scores of images of its classes.
        own_logit: of its shots, see `edge_adapt.runtime.classifier.rejection.Likeness`.
    """

    temperature: float
    score: float
    score_spread: float
    own_logit: float


@dataclass(frozen=True)
class ReadingErrors:
    """How far a regressor is off at shots that are left out, in the unit of each of its T values.

    Attributes:
        mean: of the absolute errors.
        bound: half the width of the interval that is given with an answer.
    """

    mean: tuple[float, ...]
    bound: tuple[float, ...]


class AdaptationRecord(NamedTuple):
    """What `classifier.json` holds: everything of an adaptation but the arrays."""

    labels: tuple[str, ...]
    """The N classes; empty in regression."""
    targets: tuple[str, ...]
    """The names of the T values that regression gives; empty in classification."""
    shots: tuple[Shot, ...]
    """The M images of the support set, in the order of its arrays."""
    steps: int
    losses: tuple[float, ...]
    """The support loss before each step; empty for a method without steps."""
    leave_one_out: float | None
    """The leave-one-out estimate of the accuracy, a fraction, where there is one."""
    arrays: Mapping[str, str]
    """SHA-256 of each .npy entry in hexadecimal."""
    self_knowledge: SelfKnowledge | None = None
    errors: ReadingErrors | None = None
    """In regression."""


@dataclass(frozen=True, eq=False)
class Adaptation:
    """An adaptation with its arrays: all that an adapted bundle holds beyond the model."""

    labels: tuple[str, ...]
    shots: tuple[Shot, ...]
    steps: int
    losses: tuple[float, ...]
    leave_one_out: float | None
    head_state: Mapping[str, NDArray[Any]]
    """float32 or int64 of any shape, finite, by the names in the manifest."""
    support_features: NDArray[np.float32]
    """float32 [M, D], of which regression has more a shot: see `shot_size`."""
    support_targets: NDArray[Any]
    """int64 [M], the shots' labels, `NO_LABEL` of photos of no class; in regression float32 [M, T]."""
    targets: tuple[str, ...] = ()
    """The names of the T values in regression, where `labels` is empty."""
    self_knowledge: SelfKnowledge | None = None
    errors: ReadingErrors | None = None
    """In regression."""


def record_to_json(record: AdaptationRecord, path: str) -> bytes:
    """The bytes of `classifier.json`; `path` is the bundle's, for messages."""
    value: dict[str, object] = {
        "labels": record.labels,
        "targets": record.targets,
        "steps": record.steps,
        "losses": [float(loss) for loss in record.losses],
        "leave_one_out": record.leave_one_out,
        "arrays": dict(record.arrays),
        "shots": [{"label": shot.label, "name": shot.name, "sha256": shot.sha256} for shot in record.shots],
    }
    if record.self_knowledge is not None:
        value["self_knowledge"] = asdict(record.self_knowledge)
    if record.errors is not None:
        value["errors"] = asdict(record.errors)
    return dump_json(value, f"{path}: classifier.json")


def record_from_json(data: bytes, manifest: Manifest, path: str) -> AdaptationRecord:
    """Reads `classifier.json` of the bundle at `path` with this manifest. Raises BundleError."""
    where = f"{path}: classifier.json"
    fields = Fields(load_json(data, where), where)
    labels, targets = _names(fields, "labels"), _names(fields, "targets")
    if manifest.task == "regression":
        if labels or not targets:
            fields.fail("has labels, or lacks targets, and the task is regression")
    elif targets or not labels:
        fields.fail("has targets, or lacks labels, and the task is classification")
    if manifest.max_ways is not None and len(labels) > manifest.max_ways:
        fields.fail(f"has {len(labels)} labels, and the model takes at most {manifest.max_ways}")
    steps = fields.integer("steps", 0, MAX_STEPS)
    losses = tuple(
        fields.check_number(loss, "a loss", -LARGEST_FLOAT, LARGEST_FLOAT) for loss in fields.items("losses")
    )
    if losses and len(losses) != steps:
        fields.fail(f"has {len(losses)} losses for {steps} steps")
    arrays = fields.child("arrays")
    record = AdaptationRecord(
        labels=labels,
        targets=targets,
        shots=_shots(fields, len(labels), manifest),
        steps=steps,
        losses=losses,
        leave_one_out=None if fields.is_null("leave_one_out") else fields.number("leave_one_out", 0, 1),
        arrays={name: arrays.sha256(name) for name in array_entries(manifest)},
        self_knowledge=None if manifest.priors is None else _self_knowledge(fields.child("self_knowledge")),
        errors=None if manifest.task != "regression" else _errors(fields.child("errors"), len(targets)),
    )
    arrays.done()
    fields.done()
    return record


def _self_knowledge(fields: Fields) -> SelfKnowledge:
    found = SelfKnowledge(
        temperature=fields.number("temperature", LEAST_TEMPERATURE, MOST_TEMPERATURE),
        score=fields.number("score", -LARGEST_FLOAT, LARGEST_FLOAT),
        score_spread=fields.number("score_spread", 0, LARGEST_FLOAT),
        own_logit=fields.number("own_logit", 0, LARGEST_FLOAT),
    )
    fields.done()
    return found


def _errors(fields: Fields, count: int) -> ReadingErrors:
    mean, bound = (
        tuple(fields.check_number(item, "an error", 0, LARGEST_FLOAT) for item in fields.items(key))
        for key in ("mean", "bound")
    )
    fields.done()
    if not len(mean) == len(bound) == count:
        fields.fail(f"has errors of another number of values than {count}")
    return ReadingErrors(mean, bound)


def _names(fields: Fields, key: str) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for item in fields.items(key):
        name = fields.check_line(item, f'a name in "{key}"')
        if name in names:
            fields.fail(f'has {quoted(name)} twice in "{key}"')
        names[name] = None
    return tuple(names)


def _shots(fields: Fields, n_way: int, manifest: Manifest) -> tuple[Shot, ...]:
    shots = []
    for item in fields.items("shots"):
        shot = Fields(item, f'{fields.where} ("shots")')
        shots.append(
            Shot(
                shot.integer("label", NO_LABEL, max(n_way, 0) - 1), shot.line("name", empty=True), shot.sha256("sha256")
            )
        )
        shot.done()
    found = {shot.label for shot in shots}
    if not shots or not found.issuperset(range(n_way)):
        fields.fail("has a label without a shot")
    count = sum(shot.label != NO_LABEL for shot in shots) if n_way else len(shots)
    if manifest.max_support is not None and count > manifest.max_support:
        fields.fail(f"has {count} shots, and the model takes at most {manifest.max_support}")
    return tuple(shots)


def adaptation_of(
    record: AdaptationRecord, arrays: Mapping[str, NDArray[Any]], manifest: Manifest, path: str
) -> Adaptation:
    """A record with its arrays, by entry. Raises BundleError where they do not fit each other."""
    features, targets = arrays[SUPPORT_FEATURES], arrays[SUPPORT_TARGETS]
    check_support(features, targets, record, manifest, path)
    return Adaptation(
        labels=record.labels,
        shots=record.shots,
        steps=record.steps,
        losses=record.losses,
        leave_one_out=record.leave_one_out,
        head_state={name: arrays[head_entry(name)] for name in manifest.head_state},
        support_features=features,
        support_targets=targets,
        targets=record.targets,
        self_knowledge=record.self_knowledge,
        errors=record.errors,
    )


def check_support(
    features: NDArray[Any], targets: NDArray[Any], record: AdaptationRecord, manifest: Manifest, path: str
) -> None:
    """Raises BundleError for support arrays that do not fit the shots or the feature size."""
    count = len(record.shots)
    expected = f"float32 {[count, shot_size(manifest)]}"
    if _describe(features) != expected:
        raise BundleError(f"{path}: {SUPPORT_FEATURES} is {_describe(features)}, and the shots need {expected}.")
    regression = manifest.task == "regression"
    expected = f"float32 {[count, len(record.targets)]}" if regression else f"int64 {[count]}"
    if _describe(targets) != expected:
        raise BundleError(f"{path}: {SUPPORT_TARGETS} is {_describe(targets)}, and the shots need {expected}.")
    if not regression and targets.tolist() != [shot.label for shot in record.shots]:
        raise BundleError(f"{path}: {SUPPORT_TARGETS} disagrees with the labels in classifier.json.")


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
