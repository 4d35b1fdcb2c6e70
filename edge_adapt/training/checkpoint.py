"""A moment of a run, and where it lies: RUN/checkpoint.pt, or that of the last stage of a recipe.

The file is the SHA-256 of the rest of it, 32 bytes, and what `torch.save` writes: a flipped bit in a weight would train on
unseen.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import torch

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.words import first_line
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.field_types import require_types

CHECKPOINT_VERSION = 2
MISFITS = (RuntimeError, ValueError, KeyError, TypeError, IndexError, AttributeError)
"""What is raised where parts of another kind are put together: missing keys, other types, tensors of other shapes."""
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Record:
    """One line of metrics.csv; `validation` is empty where none was measured."""

    iteration: int
    seconds: float
    loss: float
    accuracy: float
    validation: float | None


@dataclass(frozen=True)
class Snapshot:
    """A learner after some outer step.

    Attributes:
        iteration: outer steps done; 0 of the state that a run started from.
        validation: its accuracy on the validation classes, a fraction; None where none was measured.
        learner: state dict of the `MetaLearner`.
    """

    iteration: int
    validation: float | None
    learner: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a run.

    Attributes:
        config: the configuration.
        trained_on: what it is trained on, in words, for the bundle.
        compute: how the meta-batch is computed; chosen once, then kept.
        iteration: outer steps done.
        seconds: spent on them, over all its stretches.
        learner: state dict of the `MetaLearner`.
        optimizer: state dict of the method's optimizer.
        records: metrics.csv up to here.
        window: loss and accuracy of the outer steps since the last record, for the next.
        objective: state dict of what is trained beside the learner, such as the classifier of `pretrain`.
        best: the learner where the validation accuracy was best; None without validation, or for a method that does not keep it.
        validated_on: what the validation accuracies are of, in words.
        provenance: digests of what the run was given beside its settings, by the names of the arguments of `edge_adapt.train`,
            `data`, `teacher` and `validation`, and of the names of its `classes`; empty for none.
        folder: where it lies, absolute; what is in the file does not say.
    """

    config: TrainingConfig
    trained_on: str
    execution: Execution
    iteration: int
    seconds: float
    learner: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, Any]
    records: Sequence[Record]
    window: Sequence[tuple[float, float]] = ()
    objective: Mapping[str, Any] = field(default_factory=dict)
    best: Snapshot | None = None
    validated_on: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    folder: str = ""

    @property
    def exported(self) -> Snapshot:
        """What is evaluated, exported and trained on from: the best, where one is kept, or the last state."""
        if self.best:
            return self.best
        at_end = self.records and self.records[-1].iteration == self.iteration
        return Snapshot(self.iteration, self.records[-1].validation if at_end else None, self.learner)


def stages_of(run: str | os.PathLike[str]) -> list[Path]:
    """The folders of the stages of a recipe that have begun; `run` itself in other runs."""
    return sorted(path.parent for path in Path(run).glob("[0-9]-*/checkpoint.pt")) or [Path(run)]


def last_stage(run: str | os.PathLike[str]) -> Path:
    """The last of `stages_of`, which is what exports."""
    return stages_of(run)[-1]


def write_payload(stream: BinaryIO, payload: Mapping[str, Any]) -> None:
    """Write plain data and tensors, and first their digest."""
    saved = io.BytesIO()
    torch.save(payload, saved)
    stream.write(hashlib.sha256(saved.getbuffer()).digest())
    stream.write(saved.getbuffer())


def read_payload(path: Path) -> Any:
    """What `write_payload` wrote; PyTorch sees nothing that the digest does not cover.

    Raises:
        EdgeAdaptError: the file cannot be read, is damaged, or holds other things.
    """
    try:
        data = memoryview(path.read_bytes())
        if hashlib.sha256(data[_DIGEST_BYTES:]).digest() != data[:_DIGEST_BYTES]:
            raise ValueError("it does not match its SHA-256, or another version wrote it")
        return torch.load(io.BytesIO(data[_DIGEST_BYTES:]), map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises half a dozen unrelated types for what it does not take
        raise EdgeAdaptError(
            f"{path}: the checkpoint is damaged and cannot be read ({first_line(error)}); train again."
        ) from error


def load_checkpoint(run: str | os.PathLike[str]) -> Checkpoint:
    """Read checkpoint.pt of a run.

    Raises:
        EdgeAdaptError: no checkpoint, damaged, or of another version.
    """
    path = last_stage(run) / "checkpoint.pt"
    if not path.is_file():
        raise EdgeAdaptError(f"{run}: there is no checkpoint.pt; give the folder that `edge-adapt train -o` wrote.")
    payload = read_payload(path)
    version = payload.pop("version", None) if isinstance(payload, dict) else None
    version = version if type(version) is int else None
    if version != CHECKPOINT_VERSION:
        raise EdgeAdaptError(
            f"{path}: the checkpoint has version {version}; this edge-adapt reads version {CHECKPOINT_VERSION}."
        )
    try:
        payload["config"] = TrainingConfig.from_dict(payload["config"])
        payload["execution"] = Execution(**payload["execution"])
        payload["records"] = [Record(*values) for values in payload["records"]]
        payload["best"] = Snapshot(**payload["best"]) if payload.get("best") else None
        checkpoint = Checkpoint(**payload, folder=str(path.parent.absolute()))
        require_types(checkpoint)
        return checkpoint
    except (*MISFITS, EdgeAdaptError) as error:
        raise EdgeAdaptError(
            f"{path}: the checkpoint is of another edge-adapt, or lacks a part ({first_line(error)}); "
            "use the edge-adapt that wrote it, or train again."
        ) from error
