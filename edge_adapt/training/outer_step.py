"""One outer step: the mean over the micro-batches of its meta-batch, which several processes share, and what it moves."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from edge_adapt.methods.objective import Objective, StepMetrics
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.networks.memory import give_back_memory, is_out_of_memory
from edge_adapt.training import distributed
from edge_adapt.training.compute import Execution

WARM_UP = 100
"""Outer steps over which the learning rate rises to its peak."""


class OuterStep:
    """Takes steps of an optimizer.

    A micro-batch draws from generators seeded with the seed of the run, the number of the step and its own, and starts from the
    running statistics (of BatchNorm: all buffers) as they were before the step; these move by the mean of what all add to them.
    So it makes no difference which process computes a micro-batch, nor in which order, but for the rounding of sums.

    Args:
        learner: the model.
        objective: what is minimized.
        optimizer: over the parameters that get gradients.
        generator: that the objective draws from, on the training device.
        seed: of the run.
    """

    def __init__(
        self,
        learner: MetaLearner,
        objective: Objective,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        seed: int,
    ) -> None:
        self._learner, self._objective = learner, objective
        self._optimizer, self._generator, self._seed = optimizer, generator, seed
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self._statistics = [buffer for buffer in learner.buffers() if buffer.dtype != torch.bool]

    def take(self, iteration: int, execution: Execution, spent: float, peak: float) -> StepMetrics | None:
        """`compute`, and a step of the optimizer, at the learning rate of this part of the budget, where the loss is finite.

        Args:
            iteration, execution, spent: as for `compute`.
            peak: the learning rate after `WARM_UP`, from which it falls to nothing as a cosine does.
        """
        metrics = self.compute(iteration, execution, spent)
        if metrics is not None and metrics.loss.isfinite():
            rate = peak * min(1.0, (iteration + 1) / WARM_UP) * (1 + math.cos(math.pi * spent)) / 2
            for group in self._optimizer.param_groups:
                group["lr"] = rate * group.get("share", 1.0)
            self._optimizer.step()
        return metrics

    def compute(self, iteration: int, execution: Execution, spent: float) -> StepMetrics | None:
        """Leave the gradients in the parameters, and the new running statistics in the model.

        Args:
            iteration: the number of the step, from 0 on.
            execution: how to cut the meta-batch, and the precision.
            spent: the share of the budget that is behind, 0 to 1.

        Returns:
            None where a process had too little memory: nothing has changed then but the gradients.
        """
        device, micro_batches = self._generator.device, self._objective.units // execution.micro_batch
        for parameter in self._parameters:
            parameter.grad = None
        before = [buffer.clone() for buffer in self._statistics]
        changes = [torch.zeros_like(buffer) for buffer in before]
        metrics, failures = torch.zeros(2, device=device), torch.zeros(1, device=device)
        try:
            for micro_batch in range(distributed.rank(), micro_batches, distributed.processes()):
                self._draw_anew(iteration, micro_batch)
                metrics += self._add_gradients(execution, spent, 1 / micro_batches)
                for buffer, old, change in zip(self._statistics, before, changes, strict=True):
                    change.add_(buffer - old)
                    buffer.copy_(old)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failures += 1
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        learned = torch.tensor([float(p.grad is not None) for p in self._parameters], device=device)
        distributed.sum_over_processes([*gradients, *changes, metrics, failures, learned])
        failed = bool(failures)
        for parameter, gradient, count in zip(self._parameters, gradients, learned.tolist(), strict=True):
            parameter.grad = gradient if count and not failed else None
        for buffer, old, change in zip(self._statistics, before, changes, strict=True):
            buffer.copy_(old if failed else old + change / micro_batches)
        if failed:
            give_back_memory(device)
            return None
        return StepMetrics(*metrics)

    def _add_gradients(self, execution: Execution, spent: float, share: float) -> Tensor:
        """Those of a newly drawn micro-batch, times its share in the step; its loss and accuracy likewise [2]."""
        with execution.applied(self._learner):
            return torch.stack(self._objective.accumulate(self._learner, execution.micro_batch, share, spent)) * share

    def _draw_anew(self, iteration: int, micro_batch: int) -> None:
        """Seed the generator of the episodes, and PyTorch's own, from which dropout draws."""
        # 32 bits each, since PyTorch on the CPU drops the rest.
        episodes, dropout = np.random.SeedSequence((self._seed, iteration, micro_batch)).generate_state(2).tolist()
        self._generator.manual_seed(episodes)
        torch.manual_seed(dropout)
