"""What training starts from: the untrained model or weights that are there already, and how it is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.methods.objective import Objective, Teachers, TrainingData
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.networks.statistics import centre, pixel_statistics
from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training import autotune, distributed
from edge_adapt.training.budget import is_finished
from edge_adapt.training.build import build_learner
from edge_adapt.training.checkpoint import MISFITS, Checkpoint
from edge_adapt.training.compiling import fused_where_faster, still_fused
from edge_adapt.training.compute import Compute, Execution, name_of
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.run import misfit
from edge_adapt.training.teacher import Teacher

CENTRING, HEAD = "embedding.centring.", "head."
"""What the names of their weights begin with."""


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Attributes:
        weights: the end of another run of the same backbone, such as pre-training, to start from.
        teacher: the end of a run of `pretrain` on the same classes, whose answers a run of `pretrain` distils; or, for `distil`,
            one or several networks whose features it learns.
        backbone: a module of one's own, float [B, C, H, W] -> float [B, D], in place of that of the configuration.
    """

    weights: Checkpoint | None = None
    teacher: Checkpoint | FeatureTeacher | Sequence[FeatureTeacher] | None = None
    backbone: nn.Module | None = None

    @property
    def taught(self) -> Checkpoint | Sequence[FeatureTeacher] | None:
        """The teacher, one network as several are."""
        return (self.teacher,) if isinstance(self.teacher, FeatureTeacher) else self.teacher


@dataclass(frozen=True)
class Reading:
    """How data are read and kept, and whether that shows.

    Attributes:
        cache: the folder for pixels and for features that are computed once; None takes the default of `load_dataset`.
        progress: show bars.
    """

    cache: str | None = None
    progress: bool = False


@dataclass
class TrainingState:
    """What an outer loop changes.

    Attributes:
        learner: the model.
        objective: what is minimized, with parameters of its own where it has some.
        optimizer: what minimizes it.
        generator: what is drawn from, on the learner's device.
        execution: how the meta-batch is computed.
    """

    learner: MetaLearner
    objective: Objective
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    execution: Execution


def untrained(
    data: ImageDataset, config: TrainingConfig, place: torch.device, backbone: nn.Module | None
) -> MetaLearner:
    """The model of a configuration as training finds it, normalizing as these images are."""
    learner = build_learner(config, *pixel_statistics(data), backbone).to(place)
    return learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def drawing_from(
    sampler: ImageSampler, config: TrainingConfig, start: Start | None = None, reading: Reading | None = None
) -> TrainingData:
    """What the objective of a configuration draws from, out of the images that a sampler holds."""
    start, reading, place = start or Start(), reading or Reading(), sampler.starts.device
    teacher = start.taught
    answers = Teacher(teacher, place) if isinstance(teacher, Checkpoint) else None
    return TrainingData(
        sampler,
        torch.Generator(place),
        config.episodes,
        config.units,
        config.augmentation,
        Teachers(answers, () if teacher is None or isinstance(teacher, Checkpoint) else teacher),
        config.pretrained,
        Path(reading.cache) if reading.cache else None,
        reading.progress and distributed.is_first(),
    )


def prepare(
    learner: MetaLearner,
    drawing: TrainingData,
    config: TrainingConfig,
    run: Path,
    previous: Checkpoint | None,
    weights: Checkpoint | None,
    compute: Compute,
) -> TrainingState:
    """What an outer loop changes, ready for its next step, in all processes alike.

    Args:
        learner: as `untrained` gives it.
        drawing: as `drawing_from` gives it.
        config: what to train.
        run: the folder, for messages.
        previous: where an earlier stretch of the same run stopped.
        weights: what a run that begins takes over.
        compute: what the user decided.

    Raises:
        EdgeAdaptError: weights do not fit, or the micro-batch divides no outer step.
    """
    data = drawing.sampler.dataset
    objective = config.method.objective(learner, drawing)
    optimizer = objective.optimizer(learner, config.learning_rate or 0.0)
    _require_micro_batch(compute.micro_batch, objective.units, config)
    if previous:
        try:
            learner.load_state_dict(dict(previous.learner))
            objective.load_state_dict(previous.objective)
            _load_optimizer(optimizer, previous.optimizer)
        except MISFITS as error:
            raise misfit(run, config, config.backbone == "custom") from error
    elif weights:
        _start_from(learner, objective, weights, config, data)
    elif not config.method.of_images:
        centre(learner, data)
    distributed.copy_from_first([*learner.state_dict().values(), *objective.state_dict().values()])
    with distributed.first_alone():
        objective.prepare(learner)
    execution = _execution(learner, objective, config, compute, previous, drawing.progress)
    return TrainingState(learner, objective, optimizer, drawing.generator, execution)


def _execution(
    learner: MetaLearner,
    objective: Objective,
    config: TrainingConfig,
    compute: Compute,
    previous: Checkpoint | None,
    progress: bool,
) -> Execution:
    """How the meta-batch is computed: as before where the run goes on on the same device, or as is fastest there."""
    place, processes = learner.embedding.mean.device, distributed.processes()
    name = distributed.of_first(lambda: name_of(place))
    if previous and (previous.execution.device == name or is_finished(previous)):
        before = previous.execution
        bf16 = before.bf16 if compute.bf16 is None else compute.bf16
        kept = replace(before, micro_batch=compute.micro_batch or before.micro_batch, bf16=bf16)
        kept = autotune.shared(kept, objective.units, processes)
        return still_fused(kept, learner, objective) if kept.fused and not is_finished(previous) else kept
    limit = autotune.Limit(config, progress)
    # All measure at once, as they will compute.
    fastest = autotune.choose(learner, place, objective, compute.micro_batch, compute.bf16, processes, limit)
    execution = distributed.of_first(lambda: replace(fastest, device=name))
    return fused_where_faster(execution, learner, place, objective, config, compute.micro_batch)


def _require_micro_batch(micro_batch: int | None, units: int, config: TrainingConfig) -> None:
    """Raise unless a micro-batch that the user chose divides an outer step and leaves something to each process, and a batch of
    images has micro-batches that share batch statistics."""
    processes = distributed.processes()
    largest = autotune.largest_micro_batch(units, processes)
    if config.method.of_images and largest == 1:
        fitting = math.ceil(units / (2 * processes)) * 2 * processes
        raise EdgeAdaptError(
            f"{units} images in a step leave single ones to {processes} processes, without batch statistics; choose a "
            f"--batch-size that they can share, such as {fitting}."
        )
    if micro_batch is None:
        return
    if units % micro_batch:
        raise EdgeAdaptError(f"a micro-batch of {micro_batch} does not divide the {units} of an outer step.")
    if micro_batch > largest:
        raise EdgeAdaptError(
            f"micro-batches of {micro_batch} do not give each of the {processes} processes one of the {units} of an outer step; "
            f"choose {largest} or less, or a larger --meta-batch."
        )


def _load_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, object]) -> None:
    """Raise one of MISFITS for what is of another optimizer or of other parameters: PyTorch compares their number alone."""
    kinds = [{name: type(value) for name, value in group.items()} for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(state))
    if kinds != [{name: type(value) for name, value in group.items()} for group in optimizer.param_groups]:
        raise ValueError("the settings of the optimizer are of other types")
    for parameter, own in optimizer.state.items():
        if not all(isinstance(value, torch.Tensor) and value.shape in ((), parameter.shape) for value in own.values()):
            raise ValueError("the state of the optimizer is of other parameters")
    if len({frozenset(own) for own in optimizer.state.values()}) > 1:
        raise ValueError("the state of the optimizer lacks a part")


def _start_from(
    learner: MetaLearner, objective: Objective, initial: Checkpoint, config: TrainingConfig, data: ImageDataset
) -> None:
    """Take over the weights of another run, and those of its classifier where it has one for the same classes.

    A head that is learned anew takes the embedding alone: it is of another kind, or the other run did not train its own or has
    none, or it may have another number of steps. It is learned anew, too, where features that were not centred are from now on.
    Rates of an inner loop on all layers are those of its method.
    """
    before, method = initial.config.method, config.method
    other_head = type(method).head is not type(before).head
    new_head = method.leaves_backbone or before.of_images or other_head
    state = dict(initial.exported.learner)
    centred, has_head = (any(name.startswith(start) for name in state) for start in (CENTRING, HEAD))
    newly_centred = learner.embedding.centring is not None and not centred
    own_parts = (
        (HEAD,) * (new_head or newly_centred or not has_head)
        + (CENTRING,) * newly_centred
        + ("inner_loop.",) * (type(method) is not type(before))
    )
    if own_parts:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(own_parts)}
        state |= {name: tensor for name, tensor in learner.state_dict().items() if name.startswith(own_parts)}
    try:
        learner.load_state_dict(state)
    except RuntimeError as error:
        if method.adapts_all_layers != before.adapts_all_layers:
            all_layers, other = (method.name, before.name)[:: 1 if method.adapts_all_layers else -1]
            raise EdgeAdaptError(
                f"{method.name} cannot start from a run of {before.name}: {all_layers} adapts all layers, of a backbone with "
                f"GroupNorm, and {other} trains one with BatchNorm."
            ) from error
        raise EdgeAdaptError(
            f"the weights to start from are of the backbone {initial.config.backbone!r} with other settings; "
            "train with the same backbone, initialization, steps and image channels."
        ) from error
    if newly_centred:
        centre(learner, data)
    own = objective.state_dict()
    if own and {name: tensor.shape for name, tensor in own.items()} == {
        name: tensor.shape for name, tensor in initial.objective.items()
    }:
        objective.load_state_dict(initial.objective)
