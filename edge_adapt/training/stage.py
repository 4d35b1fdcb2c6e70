"""One run: what it is given, what it starts from, and its outer loop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.networks.memory import keep_freed_memory
from edge_adapt.networks.statistics import centre
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.training import distributed
from edge_adapt.training.checkpoint import Checkpoint
from edge_adapt.training.compiling import keep_compiled
from edge_adapt.training.compute import choose_device
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.origin import Given, Origin
from edge_adapt.training.resume import previous_stretch
from edge_adapt.training.run import save_sample
from edge_adapt.training.start import drawing_from, prepare, untrained
from edge_adapt.training.teacher import digest_of_teacher, require_fitting_teacher
from edge_adapt.training.trainer import Noted, Trainer
from edge_adapt.training.validation import Validation, digest_of_classes, require_validation


def train_stage(given: Given, folder: Path, config: TrainingConfig, resumed: bool) -> Checkpoint:
    """One run of one configuration; see `edge_adapt.train`. One that is resumed goes on from its checkpoint, if there is one."""
    data, validation, start, compute, reading = given
    place = distributed.place(choose_device(compute.device))
    config = config.fitted_to(data)
    if start.backbone is not None:
        config = replace(config, backbone="custom")
    teacher = start.taught
    provenance = {
        "teacher": digest_of_teacher(teacher),
        "data": digest_of_classes(data),
        "validation": digest_of_classes(validation),
        "classes": digest_of_classes(data, counts=False),
    }
    previous = distributed.of_first(lambda: previous_stretch(folder, data, provenance)) if resumed else None
    require_data(config, data, validation)
    require_fitting_teacher(teacher, config, data)
    measured = Validation(validation, config, place) if validation is not None else None
    if (
        config.method.leaves_backbone
        and start.backbone is None
        and not (config.pretrained or start.weights or previous)
    ):
        raise EdgeAdaptError(
            f"the method {config.method.name} leaves the backbone as it is, and this one has learned nothing; give a run with "
            "--start-from, or take --pretrained."
        )
    if place.type == "cpu":
        keep_freed_memory()
        keep_compiled()
    torch.manual_seed(config.seed)
    fetching = config.pretrained and not (previous or start.weights)  # whose weights take the place of those fetched
    learner = untrained(data, replace(config, pretrained=fetching), place, start.backbone)
    drawing = drawing_from(ImageSampler(data, place), config, start, reading)
    state = prepare(learner, drawing, config, folder, previous, start.weights, compute)
    trainer = Trainer(folder, config, state, measured, Noted(data.description, provenance), previous)
    if distributed.is_first():
        folder.mkdir(exist_ok=True)  # of a recipe's stage
        save_sample(folder, validation or data)
        Origin.of(given).save(folder)
    if not previous:
        if start.weights:
            trainer.keep_start()
        trainer.checkpoint()  # so that what is resumed is this run, whenever it is stopped
    trainer.run(reading.progress)
    if config.method.of_images:
        centre(learner, data)
        trainer.measure_end()
    return trainer.checkpoint()


def require_data(config: TrainingConfig, data: ImageDataset, validation: ImageDataset | None) -> None:
    """Raise DataError unless the data sets have the pixels of the configuration, and classes and images enough."""
    require_validation(config, validation)
    config.method.require(data, config.episodes)
    _require_pixels(config, data)
    if validation is not None:
        validation.require(max(2, min(config.episodes.n_way, len(validation.class_names))), config.n_shot + 1)
        _require_pixels(config, validation)


def _require_pixels(config: TrainingConfig, data: ImageDataset) -> None:
    size = config.preprocessing
    expected = (size.height, size.width, size.channels)
    if data.images.shape[1:] != expected:
        raise DataError(
            f"{data.source} was read as {data.images.shape[1:]} and the configuration takes {expected} (H, W, C); "
            "read it with config.preprocessing."
        )
