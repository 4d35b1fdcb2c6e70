"""How much of the meta-batch to compute at once, and in which precision: on a CPU, measured beforehand."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from edge_adapt.methods.objective import Objective
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.networks.memory import is_out_of_memory
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.progress import Progress
from edge_adapt.training.compute import Execution
from edge_adapt.training.config import TrainingConfig

_ROUNDS = 4

SHARE = 0.1
"""Of a run's budget, how much may go into measuring what is fastest; and as much into validation, where that is in minutes."""


@dataclass(frozen=True)
class Limit:
    """How long measuring may take, and whether it shows.

    Attributes:
        config: of the run that is measured for; None for no limit.
        progress: show a bar.
    """

    config: TrainingConfig | None = None
    progress: bool = False

    def seconds(self, step: float) -> float:
        """For a run whose outer steps take so many seconds each."""
        if self.config is None:
            return math.inf
        minutes, iterations = self.config.minutes, self.config.iterations
        return SHARE * (60 * minutes if minutes is not None else step * (iterations or 0))


def choose(
    learner: MetaLearner,
    device: torch.device,
    objective: Objective,
    micro_batch: int | None = None,
    bf16: bool | None = None,
    processes: int = 1,
    limit: Limit = Limit(),  # frozen
) -> Execution:
    """What makes the fastest outer step.

    On a GPU nothing is measured: it takes all at once, in bfloat16 where it has that in hardware. On a CPU, forward and backward
    are timed over several sizes in float32 and bfloat16, in turn, round after round, so that a moment at which the machine is
    busy slows them all. Those that memory does not suffice for are out.

    Args:
        learner: the model; a copy is timed, so that its running statistics stay as they are.
        device: where it trains.
        objective: what is to be trained; every micro-batch divides its outer step.
        micro_batch, bf16: what is decided already.
        processes: how many share the micro-batches of an outer step; each has one at least, where there are episodes (or images)
            enough.
        limit: how long it may take. What was not tried by then is out.
    """
    units = objective.units
    if device.type == "cuda":
        # Older GPUs emulate bfloat16, slowly.
        in_hardware = torch.cuda.is_bf16_supported(including_emulation=False)
        return Execution(micro_batch or largest_micro_batch(units, processes), in_hardware if bf16 is None else bf16)
    micro_batches = [micro_batch] if micro_batch else micro_batches_to_try(objective, processes)
    precisions = (False, True) if bf16 is None else (bf16,)
    candidates = [Execution(size, precision) for size in micro_batches for precision in precisions]
    if len(candidates) == 1:
        return candidates[0]
    seconds = seconds_per_step(learner, candidates, objective, processes, limit)
    if not seconds:
        return smaller(candidates[0], units) or candidates[0]
    return min(seconds, key=seconds.__getitem__)


def micro_batches_to_try(objective: Objective, processes: int) -> list[int]:
    """Those that divide an outer step and leave one to each process, in rising order."""
    largest = largest_micro_batch(objective.units, processes)
    return [size for size in objective.micro_batches if size <= largest and objective.units % size == 0] or [largest]


def seconds_per_step(
    learner: MetaLearner,
    tunings: Iterable[Execution],
    objective: Objective,
    processes: int,
    limit: Limit = Limit(),  # frozen
) -> dict[Execution, float]:
    """Of an outer step with each of those that may be the fastest: the best of several rounds, of which the first builds kernels.

    Those that memory does not suffice for are left out, as are fused ones that do not compile, for whatever reason. One is always
    tried, and others as long as they are expected to end before the limit.
    """
    trial, seconds = copy.deepcopy(learner), dict.fromkeys(tunings, math.inf)
    began, total = time.perf_counter(), len(seconds) * (_ROUNDS + 1)
    with Progress("measuring what is fastest", total, show=limit.progress) as bar:
        for trial_round in range(_ROUNDS + 1):
            for execution in list(seconds):
                bar.advance()
                fastest = min(seconds.values())
                like = min(spent for other, spent in seconds.items() if other.bf16 == execution.bf16)
                expected = min(like, fastest, key=math.isinf) * execution.micro_batch / objective.units
                if math.isfinite(fastest) and time.perf_counter() - began + expected > limit.seconds(fastest):
                    continue
                spent = _seconds_per_unit(trial, execution, objective)
                if spent is None:
                    del seconds[execution]
                else:
                    units = busiest(objective.units, execution.micro_batch, processes)
                    seconds[execution] = min(seconds[execution], spent * units)
            if trial_round == 1 and seconds:
                hopeless = 1.5 * min(seconds.values())
                bar.advance((_ROUNDS - 1) * sum(spent > hopeless for spent in seconds.values()))
                seconds = {execution: spent for execution, spent in seconds.items() if spent <= hopeless}
    return {execution: spent for execution, spent in seconds.items() if math.isfinite(spent)}


def smaller(execution: Execution, units: int) -> Execution | None:
    """With the micro-batch halved, or what below that divides the outer step; None where it is one episode (or image) already."""
    sizes = [size for size in range(1, execution.micro_batch // 2 + 1) if units % size == 0]
    return replace(execution, micro_batch=sizes[-1]) if sizes else None


def shared(execution: Execution, units: int, processes: int) -> Execution:
    """With a smaller micro-batch where a run goes on with more processes than an outer step has of them."""
    return replace(execution, micro_batch=min(execution.micro_batch, largest_micro_batch(units, processes)))


def largest_micro_batch(units: int, processes: int) -> int:
    """The largest micro-batch that leaves one to each process; of one, where there are more processes than episodes."""
    return max(size for size in range(1, units + 1) if units % size == 0 and units // size >= min(processes, units))


def busiest(units: int, micro_batch: int, processes: int) -> int:
    """How many episodes (or images) of an outer step the process with the most of its micro-batches computes."""
    return math.ceil(units // micro_batch / processes) * micro_batch


def _seconds_per_unit(learner: MetaLearner, execution: Execution, objective: Objective) -> float | None:
    """None where memory does not suffice, or fused blocks do not compile."""
    began = time.perf_counter()
    try:
        with execution.applied(learner):
            objective.accumulate(learner, execution.micro_batch, share=1.0)
    except Exception as error:  # compilers that are missing, lack headers or fail raise many kinds
        if isinstance(error, EdgeAdaptError) or not (execution.fused or is_out_of_memory(error)):
            raise
        return None
    return (time.perf_counter() - began) / execution.micro_batch
