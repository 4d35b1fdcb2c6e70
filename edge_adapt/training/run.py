"""The folder that a meta-training run leaves behind.

RUN/run.json         the configuration, the data, how the meta-batch was computed, and what exports
RUN/checkpoint.pt    the last state and the best, optimizer state and progress, written whole or not at all
RUN/sample.npz       a few hundred images, on which the exporter compares the bundle with PyTorch
RUN/metrics.csv      one line a record: iteration, seconds, loss, accuracy, validation accuracy, and which is the best
RUN/curve.png        a picture of metrics.csv
RUN/origin.json      what the run was given, and where it lay; see `edge_adapt.training.origin`
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.training import curve, distributed
from edge_adapt.training.build import build_learner
from edge_adapt.training.checkpoint import (
    CHECKPOINT_VERSION,
    MISFITS,
    Checkpoint,
    Record,
    last_stage,
    load_checkpoint,
    write_payload,
)
from edge_adapt.training.config import TrainingConfig


@contextlib.contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Make the folder of a new run, before any work; where nothing came of it, it is gone again.

    Raises:
        EdgeAdaptError: it holds a run already, or cannot be written to.
    """
    made = distributed.of_first(lambda: _claim(run))
    try:
        yield
    except BaseException:
        if made and distributed.is_first():
            with contextlib.suppress(OSError):  # it is not empty
                run.rmdir()
        raise


def _claim(run: Path) -> bool:
    """Whether the folder is new."""
    if (run / "checkpoint.pt").exists() or (run / "recipe.json").exists():
        raise EdgeAdaptError(
            f"{run} holds a run already; go on with it by `edge-adapt train --resume`, or write to another folder."
        )
    try:
        made = not run.exists()
        run.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=run):
            return made
    except OSError as error:
        raise EdgeAdaptError(
            f"{run} cannot be the folder of a run ({error.strerror or error}); choose another place."
        ) from error


def save_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Write checkpoint.pt, run.json, metrics.csv and curve.png, each atomically, the checkpoint first."""
    fields = {entry.name: getattr(checkpoint, entry.name) for entry in dataclasses.fields(checkpoint)}
    config, execution = checkpoint.config.to_dict(), dataclasses.asdict(checkpoint.execution)
    del fields["folder"]
    parts = {
        "version": CHECKPOINT_VERSION,
        "config": config,
        "execution": execution,
        "records": [dataclasses.astuple(record) for record in checkpoint.records],
        "best": vars(checkpoint.best) if checkpoint.best else None,
    }
    payload = {**fields, **parts}
    write_atomically(run / "checkpoint.pt", lambda stream: write_payload(stream, payload))
    exported = {"iteration": checkpoint.exported.iteration, "validation": checkpoint.exported.validation}
    described = {
        "trained_on": checkpoint.trained_on,
        "validated_on": checkpoint.validated_on,
        "exported": exported,
        "config": config,
        "execution": execution,
        "torch": torch.__version__,
    }
    write_atomically(run / "run.json", lambda stream: stream.write((json.dumps(described, indent=2) + "\n").encode()))
    write_atomically(run / "metrics.csv", lambda stream: stream.write(_csv(checkpoint)))
    write_atomically(run / "curve.png", lambda stream: stream.write(curve.draw(checkpoint)))


def load_learner(
    run: str | os.PathLike[str], backbone: nn.Module | None = None, all_layers: bool = False
) -> tuple[MetaLearner, Checkpoint]:
    """What a run exports, `Checkpoint.exported`, in evaluation mode, and its checkpoint.

    Args:
        run: the folder.
        backbone: an instance of the module that was trained, if it was one of the user's own.
        all_layers: only one that has an inner loop on all layers.
    """
    checkpoint = load_checkpoint(run)
    if all_layers and not checkpoint.config.method.adapts_all_layers:
        raise EdgeAdaptError(
            f"{os.fspath(run)} was trained with {checkpoint.config.method.name}, which has no inner loop on all layers."
        )
    state = checkpoint.exported.learner
    config = dataclasses.replace(checkpoint.config, pretrained=False)  # no need to fetch what the checkpoint holds
    try:
        learner = build_learner(config, state["embedding.mean"], state["embedding.std"], backbone)
        learner.load_state_dict(dict(state))
    except MISFITS as error:
        raise misfit(run, checkpoint.config, backbone is not None) from error
    return learner.eval(), checkpoint


def misfit(run: str | os.PathLike[str], config: TrainingConfig, own: bool) -> EdgeAdaptError:
    """What to raise where a run's weights do not fit the user's own backbone, or that which its configuration names."""
    if own:
        return EdgeAdaptError(
            f"{run}: the checkpoint does not fit the backbone; pass an instance of the module that was trained."
        )
    return EdgeAdaptError(
        f"{run}: the weights in the checkpoint are not those that {config.method.name} with {config.backbone} has in this "
        "edge-adapt; use the edge-adapt that wrote it, or train again."
    )


SAMPLE_CLASSES, SAMPLE_IMAGES = 20, 20
LEAST_CLASSES, LEAST_IMAGES = 2, 2


def sample_of(data: ImageDataset) -> ImageDataset:
    """Up to 20 images of up to 20 classes, spread over those of the data set that have the two images for an episode.

    Raises:
        DataError: fewer than two classes have.
    """
    eligible = np.flatnonzero(data.counts >= LEAST_IMAGES)
    if len(eligible) < LEAST_CLASSES:
        raise DataError(
            f"{data.source}: {len(eligible)} of the {len(data.class_names)} classes have {LEAST_IMAGES} images or more, and a "
            f"model is exported with episodes of {LEAST_CLASSES} such classes or more; add images."
        )
    chosen = eligible[:: max(1, len(eligible) // SAMPLE_CLASSES)][:SAMPLE_CLASSES]
    members = [data.images[data.starts[c] : data.starts[c + 1]][:SAMPLE_IMAGES] for c in chosen]
    starts = np.cumsum([0, *map(len, members)], dtype=np.int64)
    return ImageDataset(data.source, np.concatenate(members), tuple(data.class_names[c] for c in chosen), starts)


def save_sample(run: Path, data: ImageDataset) -> None:
    """Keep `sample_of` the data set, which raises DataError where no bundle could be made of the run."""
    sample = sample_of(data)
    write_atomically(
        run / "sample.npz",
        lambda stream: np.savez_compressed(
            stream, images=sample.images, starts=sample.starts, class_names=np.array(sample.class_names)
        ),
    )


def load_sample(run: str | os.PathLike[str]) -> ImageDataset:
    """The images that `save_sample` kept.

    Raises:
        EdgeAdaptError: the file is missing or damaged.
    """
    path = last_stage(run) / "sample.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = tuple(str(name) for name in arrays["class_names"])
            return ImageDataset(str(path), arrays["images"], names, arrays["starts"])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EdgeAdaptError(f"{path} is missing or damaged ({error}); train again.") from error


def _csv(checkpoint: Checkpoint) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(entry.name for entry in dataclasses.fields(Record)), "best"])
    for record in checkpoint.records:
        validation = "" if record.validation is None else f"{record.validation:.4f}"
        best = "1" if checkpoint.best and record.iteration == checkpoint.best.iteration else ""
        writer.writerow(
            [
                record.iteration,
                f"{record.seconds:.1f}",
                f"{record.loss:.5f}",
                f"{record.accuracy:.4f}",
                validation,
                best,
            ]
        )
    return text.getvalue().encode()
