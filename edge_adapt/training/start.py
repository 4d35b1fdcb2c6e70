"""What training starts from: the untrained model or weights that are there already, statistics of the pixels and features."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edge_adapt.methods import METHODS
from edge_adapt.methods.augmentation import augment
from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.methods.objective import Objective, TrainingData
from edge_adapt.networks.backbones.layers import classified, parts_of
from edge_adapt.networks.build import build_learner, feature_size
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.evaluation import BATCH
from edge_adapt.training import autotune as tuning_module
from edge_adapt.training import distributed
from edge_adapt.training.autotune import Tuning
from edge_adapt.training.compiling import fused_where_faster, keep_compiled
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import Checkpoint, misfit
from edge_adapt.training.teacher import Teacher

CENTRING, HEAD = "embedding.centring.", "head."
"""What the names of their weights begin with."""


@dataclass
class Trainee:
    """What an outer loop trains.

    Attributes:
        learner: the model.
        objective: what is minimized, with parameters of its own where it has some.
        optimizer: what minimizes it.
        generator: what is drawn from, on the learner's device.
        tuning: how the meta-batch is computed.
    """

    learner: MetaLearner
    objective: Objective
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    tuning: Tuning


def begin(
    data: ImageDataset,
    config: TrainingConfig,
    place: torch.device,
    run: Path,
    backbone: nn.Module | None,
    previous: Checkpoint | None,
    initial: Checkpoint | None,
    teacher: Checkpoint | Sequence[FeatureTeacher] | None,
    piece: int | None,
    bf16: bool | None,
    cache: str | os.PathLike[str] | None,
    progress: bool,
) -> Trainee:
    """What `edge_adapt.training.train.train` trains, whose arguments these are, in all processes alike.

    Args:
        place: the device.
        run: the folder, for messages.
        previous: where an earlier stretch of the same run stopped.

    Raises:
        EdgeAdaptError: weights do not fit, or the piece divides no outer step.
    """
    if place.type == "cpu":
        tuning_module.keep_freed_memory()
        keep_compiled()
    torch.manual_seed(config.seed)
    fetching = config.pretrained and not (previous or initial)  # whose weights take the place of those fetched
    learner = build_learner(replace(config, pretrained=fetching), *_pixel_statistics(data), backbone).to(place)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator(place)
    drawing = TrainingData(
        ImageSampler(data, place),
        generator,
        _classified_features(learner.embedding.backbone, config),
        _augmentation(config, generator),
        Teacher(teacher, place) if isinstance(teacher, Checkpoint) else None,
        Path(cache) if cache else None,
        progress and distributed.is_first(),
        feature_size(learner.embedding.backbone, config.preprocessing),
        () if teacher is None or isinstance(teacher, Checkpoint) else teacher,
    )
    objective = METHODS[config.method].objective(config, drawing)
    optimizer = objective.optimizer(learner, config.learning_rate)
    _require_piece(piece, objective.units, config)
    if previous:
        try:
            learner.load_state_dict(dict(previous.learner))
            objective.load_state_dict(previous.objective)
            optimizer.load_state_dict(dict(previous.optimizer))
        except (RuntimeError, ValueError) as error:
            raise misfit(run, config, backbone) from error
    elif initial:
        _start_from(learner, objective, initial, config.method, data, place)
    elif not METHODS[config.method].of_images:
        centre(learner, data, place)
    distributed.copy_from_first([*learner.state_dict().values(), *objective.state_dict().values()])
    with distributed.first_alone():
        objective.prepare(learner)
    processes = distributed.processes()
    if previous:
        before = previous.tuning
        kept = replace(before, piece=piece or before.piece, bf16=before.bf16 if bf16 is None else bf16)
        tuning = tuning_module.shared(kept, objective.units, processes)
    else:  # all measure at once, as they will compute
        fastest = tuning_module.choose(learner, place, objective, piece, bf16, processes)
        tuning = distributed.of_first(lambda: fastest)
        tuning = fused_where_faster(tuning, learner, place, objective, config, piece)
    return Trainee(learner, objective, optimizer, generator, tuning)


def _augmentation(config: TrainingConfig, generator: torch.Generator) -> Callable[[Tensor, float], Tensor] | None:
    if not config.augment:
        return None
    return lambda images, spent: augment(images, generator, config.crop_size_at(spent))


def _require_piece(piece: int | None, units: int, config: TrainingConfig) -> None:
    """Raise unless a piece that the user chose divides an outer step and leaves something to each process, and a batch of images
    has pieces that share batch statistics."""
    processes = distributed.processes()
    largest = tuning_module.largest_piece(units, processes)
    if METHODS[config.method].of_images and largest == 1:
        fitting = math.ceil(units / (2 * processes)) * 2 * processes
        raise EdgeAdaptError(
            f"{units} images in a step leave single ones to {processes} processes, without batch statistics; choose a "
            f"--batch-size that they can share, such as {fitting}."
        )
    if piece is None:
        return
    if units % piece:
        raise EdgeAdaptError(f"a piece of {piece} does not divide the {units} of an outer step.")
    if piece > largest:
        raise EdgeAdaptError(
            f"pieces of {piece} do not give each of the {processes} processes one of the {units} of an outer step; "
            f"choose {largest} or less, or a larger --meta-batch."
        )


def _classified_features(backbone: nn.Module, config: TrainingConfig) -> int:
    """How many numbers a classifier of the training classes looks at."""
    return classified(backbone, torch.zeros(1, feature_size(backbone, config.preprocessing))).shape[1]


def _pixel_statistics(data: ImageDataset) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel in 0..1, float32 [C] each, over up to ten thousand images."""
    sample = data.images[:: max(1, len(data.images) // 10_000)]
    total = np.zeros(sample.shape[-1])
    squares = np.zeros(sample.shape[-1])
    for image in sample:  # one at a time: as floats they would take many times their memory
        pixels = image / 255
        total += pixels.sum(axis=(0, 1))
        squares += (pixels**2).sum(axis=(0, 1))
    count = sample[..., 0].size
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    if std.max() < 1e-6:
        raise DataError(f"{data.source}: all images are the same flat colour, and nothing can be learned from them.")
    # One channel may be flat where another is not.
    return torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.clip(1 / 255).astype(np.float32))


def _start_from(
    learner: MetaLearner,
    objective: Objective,
    initial: Checkpoint,
    method: str,
    data: ImageDataset,
    device: torch.device,
) -> None:
    """Take over the weights of another run, and those of its classifier where it has one for the same classes.

    A head that is learned anew takes the embedding alone: it is of another kind, or the other run did not train its own or has
    none, or it may have another number of steps. It is learned anew, too, where features that were not centred are from now on.
    Rates of an inner loop on all layers are those of its method.
    """
    before = initial.config.method
    new_head = method == "head" or METHODS[before].of_images or METHODS[method].head != METHODS[before].head
    state = dict(initial.exported.learner)
    centred, has_head = (any(name.startswith(start) for name in state) for start in (CENTRING, HEAD))
    newly_centred = learner.embedding.centring is not None and not centred
    own_parts = (
        (HEAD,) * (new_head or newly_centred or not has_head)
        + (CENTRING,) * newly_centred
        + ("inner_loop.",) * (method != before)
    )
    if own_parts:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(own_parts)}
        state |= {name: tensor for name, tensor in learner.state_dict().items() if name.startswith(own_parts)}
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        if bool(METHODS[method].inner_loop) != bool(METHODS[before].inner_loop):
            all_layers, other = (method, before) if METHODS[method].inner_loop else (before, method)
            raise EdgeAdaptError(
                f"{method} cannot start from a run of {before}: {all_layers} adapts all layers, of a backbone with GroupNorm, "
                f"and {other} trains one with BatchNorm."
            ) from error
        raise EdgeAdaptError(
            f"the weights to start from are of the backbone {initial.config.backbone!r} with other settings; "
            "train with the same backbone, head, steps and image channels."
        ) from error
    if newly_centred:
        centre(learner, data, device)
    own = objective.state_dict()
    if own and {name: tensor.shape for name, tensor in own.items()} == {
        name: tensor.shape for name, tensor in initial.objective.items()
    }:
        objective.load_state_dict(initial.objective)


@torch.no_grad()
def centre(learner: MetaLearner, data: ImageDataset, device: torch.device) -> None:
    """Fit what centred features take from the training images, on up to ten thousand of them."""
    centring = learner.embedding.centring
    if centring is None:
        return
    learner.eval()
    step = max(1, len(data.images) // 10_000)
    sample = data.images[::step]
    features = []
    for start in range(0, len(sample), BATCH):
        images = torch.from_numpy(np.ascontiguousarray(sample[start : start + BATCH])).to(device)
        features.append(learner.embedding.backbone(learner.embedding.normalize(images)))
    together = torch.cat(features)
    labels = np.repeat(np.arange(len(data.class_names)), data.counts)[::step]
    parts = parts_of(learner.embedding.backbone, together.shape[1])
    centring.fit(together, torch.from_numpy(labels).to(device), parts)
    learner.train()
