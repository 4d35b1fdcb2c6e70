"""A learned optimizer: an LSTM whose cell state is the parameters, and whose gates say how far each goes along its gradient.

Ravi and Larochelle, "Optimization as a Model for Few-Shot Learning", ICLR 2017, https://openreview.net/forum?id=rJY0-Kcll. A step
is, for each number by itself,

    theta <- f * theta - i * gradient

with gates f and i from the number itself, from the same gate in the step before, and from what a small LSTM, which all numbers
share, makes of its gradient and the loss, preprocessed as in the paper's appendix A. The initialization is learned too. What
departs from the paper:

- Before meta-training i is the rate that is asked for, and f next to 1. The paper starts both from biases in a range.
- No statistics of batches, which the paper keeps for each step: the module has none.
- With `meta_gradient="first-order"` gradients and losses are constants to the outer loop, as in the paper; else they are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

HIDDEN = 20
"""Numbers that the LSTM remembers of each parameter, as in the paper."""

KEPT = 6.0
"""The logit of f before meta-training."""

SCALE = 10.0
"""Magnitudes from e^-10 on go in by their logarithm, smaller ones as they are times e^10; p in the paper's appendix."""


class Memory(NamedTuple):
    """What the optimizer remembers of P numbers.

    Attributes:
        hidden, cell: of the LSTM [P, H].
        kept, taken: the gates f and i of the step before [P].
    """

    hidden: Tensor
    cell: Tensor
    kept: Tensor
    taken: Tensor


class LSTMOptimizer(nn.Module):
    """Steps of the inner loop, learned.

    Args:
        names: the parameters that it moves.
        rate: what i is before meta-training, below 1.
    """

    def __init__(self, names: Iterable[str], rate: float) -> None:
        super().__init__()
        self.names = tuple(names)
        self.lstm = nn.LSTMCell(4, HIDDEN)
        self.gates = nn.Linear(HIDDEN + 1, 2)  # of f and i, from what the LSTM gives and the number itself
        self.from_before = nn.Parameter(torch.zeros(2))  # of each gate, its own value in the step before
        with torch.no_grad():
            self.gates.weight.mul_(0.01)
            self.gates.bias.copy_(torch.tensor([KEPT, math.log(rate / (1 - rate))]))

    def forward(
        self, parameters: Mapping[str, Tensor], gradients: Iterable[Tensor], losses: Tensor, before: Memory | None
    ) -> tuple[dict[str, Tensor], Memory]:
        """A step.

        Args:
            parameters: where it starts from; of T tasks together each [T, ...].
            gradients: of the loss by them, in their order.
            losses: a scalar, or [T].
            before: what was remembered by the step before; None before the first.

        Returns:
            Where it leads, and what to remember.
        """
        tensors = list(parameters.values())
        values, slopes = (torch.cat([tensor.flatten() for tensor in each]) for each in (tensors, gradients))
        of_each = torch.cat([_alike(losses, tensor).flatten() for tensor in tensors])
        if before is None:
            nothing = values.new_zeros(len(values), HIDDEN)
            before = Memory(nothing, nothing, torch.zeros_like(values), torch.zeros_like(values))
        seen = torch.cat([preprocessed(slopes), preprocessed(of_each)], 1)  # [P, 4]
        hidden, cell = self.lstm(seen, (before.hidden, before.cell))
        raw = self.gates(torch.cat([hidden, values.unsqueeze(1)], 1))  # [P, 2]
        kept, taken = torch.sigmoid(raw + self.from_before * torch.stack([before.kept, before.taken], 1)).unbind(1)
        moved = kept * values - taken * slopes
        parts = moved.split([tensor.numel() for tensor in tensors])  # type: ignore[no-untyped-call]
        reached = {name: part.view_as(tensor) for name, part, tensor in zip(parameters, parts, tensors, strict=True)}
        return reached, Memory(hidden, cell, kept, taken)


def preprocessed(numbers: Tensor) -> Tensor:
    """Numbers of any size [P] to two of about 1 each [P, 2]: magnitude and sign."""
    is_large = numbers.abs() >= math.exp(-SCALE)
    magnitude = torch.where(is_large, numbers, 1).abs().log() / SCALE
    large = torch.stack([magnitude, numbers.sign()], 1)
    small = torch.stack([torch.full_like(numbers, -1), math.exp(SCALE) * numbers], 1)
    return torch.where(is_large.unsqueeze(1), large, small)


def _alike(losses: Tensor, tensor: Tensor) -> Tensor:
    """The loss of each number of a tensor: a scalar to [...], or [T] to [T, ...]."""
    return losses.view(*losses.shape, *[1] * (tensor.ndim - losses.ndim)).expand_as(tensor)
