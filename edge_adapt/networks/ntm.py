"""A neural Turing machine: a controller that reads and writes an external memory, a step of a sequence at a time.

Graves et al., "Neural Turing Machines", 2014, https://arxiv.org/abs/1410.5401: addressing by content and by location (equations 5
to 9), reading (2), and writing by erasing and adding (3, 4), with one head of each kind. What the paper leaves open, and what is
taken here:

- A step reads the memory as the step before left it, and then writes. Its output is a linear map of the controller's output and
  of what was read, both of the same step.
- The memory starts from one small number everywhere, as Collier and Beel found to learn fastest ("Implementing Neural Turing
  Machines", ICANN 2018, https://arxiv.org/abs/1807.08518); what was read before the first step, where the heads stand then and
  the state of the LSTM are learned. Before training the heads stand at the first slot: spread over all slots, shifts would lead
  nowhere.
- Shifts are by -1, 0 or 1. The feed-forward controller is one layer with tanh.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.runtime.errors import EdgeAdaptError

Controller = Literal["lstm", "feed-forward"]

SHIFTS = (-1, 0, 1)

BLANK = 1e-6
"""What every number in the memory is at first."""

FIRST_SLOT = 10.0
"""The logit of the first slot, of where the heads stand before training; 0 of the others."""

LEAST_WEIGHT = 1e-16
"""Of a weight that is sharpened: the derivative of a power has no value at 0."""


class Addressing(NamedTuple):
    """What a head says about where it wants to be, of B sequences.

    Attributes:
        key: what the content looks like [B, W].
        strength: of the likeness, above 0 [B, 1].
        gate: how much content counts, and not where the head was, 0 to 1 [B, 1].
        shift: the share of each of `SHIFTS` [B, 3].
        sharpness: the power that weights are raised to, 1 or more [B, 1].
    """

    key: Tensor
    strength: Tensor
    gate: Tensor
    shift: Tensor
    sharpness: Tensor


def address(memory: Tensor, before: Tensor, wanted: Addressing) -> Tensor:
    """The weights of a head over the slots, which add up to 1 [B, S]; for the memory [B, S, W] and the weights before [B, S]."""
    likeness = functional.cosine_similarity(memory, wanted.key.unsqueeze(1), dim=-1)  # [B, S]
    by_content = torch.softmax(wanted.strength * likeness, dim=-1)
    gated = wanted.gate * by_content + (1 - wanted.gate) * before
    shifted = sum(
        share.unsqueeze(1) * gated.roll(by, 1) for by, share in zip(SHIFTS, wanted.shift.unbind(1), strict=True)
    )
    assert isinstance(shifted, Tensor)
    powers = shifted.clamp(min=LEAST_WEIGHT) ** wanted.sharpness
    return powers / powers.sum(1, keepdim=True)


def read(memory: Tensor, weights: Tensor) -> Tensor:
    """What a head reads [B, W], of the memory [B, S, W] with its weights [B, S]."""
    return (weights.unsqueeze(1) @ memory).squeeze(1)


def written(memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """The memory [B, S, W] after a head with these weights [B, S] has erased, 0 to 1, and then added [B, W] each."""
    there = weights.unsqueeze(-1)  # [B, S, 1]
    return memory * (1 - there * erase.unsqueeze(1)) + there * add.unsqueeze(1)


class _State(NamedTuple):
    memory: Tensor  # [B, S, W]
    reading: Tensor  # where the heads are, [B, S]
    writing: Tensor
    read: Tensor  # [B, W]
    controller: tuple[Tensor, Tensor] | None  # of the LSTM, [B, H] each


class NeuralTuringMachine(nn.Module):
    """Sequences of vectors to sequences of vectors.

    Args:
        inputs, outputs: numbers in a vector of each.
        controller: "lstm" or "feed-forward".
        hidden: numbers that the controller gives, H.
        slots: of the memory, S.
        width: numbers in a slot, W.

    Raises:
        EdgeAdaptError: there is no such controller.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        controller: Controller = "lstm",
        hidden: int = 100,
        slots: int = 128,
        width: int = 20,
    ) -> None:
        super().__init__()
        if controller not in get_args(Controller):
            raise EdgeAdaptError(f"controller is {controller!r}; choose one of {', '.join(get_args(Controller))}.")
        self.slots, self.width = slots, width
        self.lstm = nn.LSTMCell(inputs + width, hidden) if controller == "lstm" else None
        self.layer = nn.Linear(inputs + width, hidden) if controller == "feed-forward" else None
        self._sizes = [width, 1, 1, len(SHIFTS), 1]
        self.reading_head = nn.Linear(hidden, sum(self._sizes))
        self.writing_head = nn.Linear(hidden, sum(self._sizes) + 2 * width)
        self.output = nn.Linear(hidden + width, outputs)
        self.first_read = nn.Parameter(0.01 * torch.randn(width))
        self.first_places = nn.Parameter(torch.zeros(2, slots))  # of the reading and the writing head, as logits
        self.first_state = nn.Parameter(torch.zeros(2, hidden)) if controller == "lstm" else None
        with torch.no_grad():
            self.first_places[:, 0] = FIRST_SLOT

    def forward(self, sequence: Tensor) -> Tensor:
        """Inputs float [T, B, inputs] to outputs [T, B, outputs], each of which depends on the inputs up to its own."""
        state, outputs = self._start(sequence.shape[1]), []
        for step in sequence:
            output, state = self._step(step, state)
            outputs.append(output)
        return torch.stack(outputs)

    def _start(self, count: int) -> _State:
        reading, writing = torch.softmax(self.first_places, dim=1).unsqueeze(1).expand(-1, count, -1)
        of_lstm = None
        if self.first_state is not None:
            hidden, cell = self.first_state.unsqueeze(1).expand(-1, count, -1)
            of_lstm = hidden, cell
        memory = self.first_read.new_full((count, self.slots, self.width), BLANK)
        return _State(memory, reading, writing, self.first_read.expand(count, -1), of_lstm)

    def _step(self, inputs: Tensor, state: _State) -> tuple[Tensor, _State]:
        seen = torch.cat([inputs, state.read], 1)
        of_lstm = None
        if self.lstm is not None:
            of_lstm = self.lstm(seen, state.controller)
            hidden: Tensor = of_lstm[0]
        else:
            assert self.layer is not None
            hidden = torch.tanh(self.layer(seen))
        reading = address(state.memory, state.reading, self._wanted(self.reading_head(hidden)))
        found = read(state.memory, reading)
        wanted, erase, add = torch.split(self.writing_head(hidden), [sum(self._sizes), self.width, self.width], 1)
        writing = address(state.memory, state.writing, self._wanted(wanted))
        memory = written(state.memory, writing, erase.sigmoid(), add)
        output = self.output(torch.cat([hidden, found], 1))
        return output, _State(memory, reading, writing, found, of_lstm)

    def _wanted(self, raw: Tensor) -> Addressing:
        """What a layer gives, of any size [B, W + 6], brought into the ranges of `Addressing`."""
        key, strength, gate, shift, sharpness = torch.split(raw, self._sizes, 1)
        return Addressing(
            key,
            functional.softplus(strength),
            gate.sigmoid(),
            torch.softmax(shift, dim=1),
            1 + functional.softplus(sharpness),
        )
