"""Whether a training compiles the blocks of its backbone: where it is long, that is faster, and works in every process.

The blocks are in `edge_adapt.networks.backbones.fused_pooling`.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

import torch
from torch import nn

from edge_adapt.methods.objective import Objective
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.data.pixel_cache import default_cache
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.progress import say
from edge_adapt.training import distributed
from edge_adapt.training.autotune import micro_batches_to_try, seconds_per_step
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig

_LEAST_MINUTES, _LEAST_ITERATIONS = 10.0, 2000
"""Of a run that compiling is worth its while for; it takes up to a minute of a busy machine."""


def keep_compiled() -> None:
    """Let what is compiled lie in the user's own cache, not in a folder of /tmp that others may have made.

    PyTorch settles that when its compiler, or an optimizer, is first used: where that was before, or the user names a folder, it
    stays as it is.
    """
    with contextlib.suppress(EdgeAdaptError):  # without a home folder PyTorch's choice has to do
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(default_cache() / "compiled"))


def fused_where_faster(
    execution: Execution,
    learner: MetaLearner,
    device: torch.device,
    objective: Objective,
    config: TrainingConfig,
    micro_batch: int | None = None,
) -> Execution:
    """For a new run that is long: its compute, with the blocks fused where they compile in every process and an outer step of the
    first is faster then.

    Args:
        compute: what is chosen already, by the first process.
        learner, device, objective: as for `edge_adapt.training.autotune.choose`.
        config: what is trained, and for how long.
        micro_batch: what is decided already; None tries other sizes too, since fused blocks are fastest in larger ones.
    """
    if not (_is_long(config) and _has_blocks_to_fuse(learner, device, config)):
        return execution
    _announce()
    processes = distributed.processes()
    sizes = [micro_batch] if micro_batch else micro_batches_to_try(objective, processes)
    fused = [replace(execution, micro_batch=size, fused=True) for size in sizes]
    seconds = seconds_per_step(learner, [execution, *fused], objective, processes)
    fastest = distributed.of_first(lambda: min(seconds, key=seconds.__getitem__, default=execution))
    return fastest if _in_all(any(candidate.fused for candidate in seconds)) else execution


def still_fused(execution: Execution, learner: MetaLearner, objective: Objective) -> Execution:
    """For a run that goes on with fused blocks: its compute, without them where they do not compile."""
    _announce()
    if _in_all(_may_compile() and bool(seconds_per_step(learner, [execution], objective, distributed.processes()))):
        return execution
    say("they do not compile here; going on without, more slowly", distributed.is_first())
    return replace(execution, fused=False)


def _is_long(config: TrainingConfig) -> bool:
    return (config.minutes or 0) >= _LEAST_MINUTES or (config.iterations or 0) >= _LEAST_ITERATIONS


def _has_blocks_to_fuse(learner: MetaLearner, device: torch.device, config: TrainingConfig) -> bool:
    if device.type != "cpu" or config.method.leaves_backbone or not _may_compile():
        return False
    return any(
        isinstance(module, Conv4) and isinstance(module.normalizations[0], nn.BatchNorm2d)
        for module in learner.modules()
    )


def _may_compile() -> bool:
    """Unless the user said so to PyTorch, whose functions go on uncompiled then, and slowly."""
    return os.environ.get("TORCH_COMPILE_DISABLE") != "1"


def _announce() -> None:
    """Say why nothing moves for a while."""
    say("compiling the blocks of conv4, up to a minute", distributed.is_first())


def _in_all(works: bool) -> bool:
    """Whether something works in all processes."""
    failures = torch.tensor([float(not works)])
    distributed.sum_over_processes([failures])
    return not failures
