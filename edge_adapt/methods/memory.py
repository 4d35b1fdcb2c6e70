"""Memory-augmented network: `adapt` writes the support set into an external memory, which `predict` reads.

Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks", ICML 2016, https://proceedings.mlr.press/v48/santoro16.html.
From there: reading by the cosine between keys; writing by least recently used access (LRUA), partly where was read and partly to
the slot that is used least, which is erased first; and the usage that tells which slot that is. Departures, and why:

- The controller is the paper's simpler one, a feed-forward map: the backbone, and a linear layer on its features. An LSTM would
  be a second memory, in which the order of the images counts.
- An image comes with its label. In the paper the label comes a step later, since the same network has to guess it first, and is
  written where its image was read. So here the read that precedes a write is the image's own; and as the label is known, it reads
  the slots that hold that label. By the key alone, similar images of two classes would be written into each other's slots.
- Labels are one-hots beside the keys, written with the same weights and read with the same attention, in place of an output
  layer: the number of ways is free. A class's labels in memory are brought to 1 in all, or many shots would outvote few.
- The support set is written in rounds, an image of each class in the last, and so on backwards; a round takes as many least used
  slots as it has images, as the paper does for several read heads. Images of a round do not meet in the memory, so while nothing
  is erased this is writing one after another. What is erased are earlier images of classes with many, and never a whole class,
  which is what one image after another did to a support set given class by class.
- The memory has 512 slots and not 128, or one for each image if that is less: none is erased before the 513th image.

Which slot is used least carries no gradient; all else is differentiated through time. In episodes of one shot nothing is read
before a write, and the gate learns nothing.

The order within a class, in which its images are written, has some influence. The runtime sorts the support set first, so that
the same images give the same classifier.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.export.heads.head_graphs import HeadGraphs
from edge_adapt.export.heads.memory import DECAY, LEAST_MASS, MemoryHeadParameters, memory_head_graphs
from edge_adapt.methods.method import Method
from edge_adapt.networks.head import Head, HeadState, no_losses

KEY_SIZE = 128
"""Numbers in a key at most; the paper has 40."""

SLOTS = 512
"""Room for 50 images of each of 10 classes."""


class MemoryHead(Head):
    """An external memory of keys and labels.

    With k_t the key and y_t the one-hot label of image t, writing it is

        w_r = softmax of strength * cosine(k_t, key_i) over the slots that hold its label; 0 where there are none
        w_w = gate * w_r + (1 - gate) * w_lu,        w_lu: 1 at the slot used least, which is erased beforehand
        key_i += w_w(i) k_t,    label_i += w_w(i) y_t,    usage_i <- decay * usage_i + w_r(i) + w_w(i)

    and the logits of a query with key k are log sum_i w_i label_i, w the softmax of strength * cosine(k, key_i) over all slots.

    Args:
        feature_size: D.
        slots: of the memory; a support set of more classes has one for each.
    """

    def __init__(self, feature_size: int, slots: int = SLOTS) -> None:
        super().__init__()
        self.slots = slots
        self.controller = nn.Linear(feature_size, min(feature_size, KEY_SIZE))
        nn.init.orthogonal_(self.controller.weight)  # keeps angles, as far as so few numbers can
        nn.init.normal_(self.controller.bias, std=0.01)  # features that are all 0 have no direction
        self.log_strength = nn.Parameter(torch.tensor(math.log(10.0)))
        self.alpha = nn.Parameter(torch.tensor(0.0))  # the paper's; its sigmoid is the gate

    def keys(self, features: Tensor) -> Tensor:
        """Features [..., D] to keys of length 1 [..., K]."""
        return functional.normalize(self.controller(features), dim=-1)

    def adapt(self, features: Tensor, labels: Tensor, n_way: int, steps: int) -> tuple[HeadState, Tensor]:
        """Write the support set; see `Head.adapt`.

        Returns:
            `keys`, what each slot is addressed by, of length 1 [..., S, K], and `labels`, what is read there [..., S, N], which
            adds up to 1 over the slots for each class; S is M, or the number of slots if that is less. No losses.
        """
        one_hot = functional.one_hot(labels, n_way).to(features.dtype)  # [..., M, N]
        order, is_image = rounds(one_hot)
        keys, labels_in_order = _pick(self.keys(features), order), _pick(one_hot, order) * is_image
        slots = min(features.shape[-2], max(self.slots, n_way))
        memory = Memory(keys.new_zeros(*keys.shape[:-3], slots, keys.shape[-1]), n_way)
        strength, gate = self.log_strength.exp(), self.alpha.sigmoid()
        for of_round in zip(keys.unbind(-3), labels_in_order.unbind(-3), is_image.unbind(-3), strict=True):
            memory.write(*of_round, strength, gate)
        shots = memory.labels.sum(-2, keepdim=True).clamp(min=LEAST_MASS)
        state = {"keys": functional.normalize(memory.keys, dim=-1), "labels": memory.labels / shots}
        return state, no_losses(features)

    def predict(self, features: Tensor, state: HeadState) -> Tensor:
        """Query features [..., B, D] and the head state to logits [..., B, N]: log-probabilities, up to a number a query."""
        cosines = self.keys(features) @ state["keys"].transpose(-1, -2)  # [..., B, S]
        attention = torch.softmax(self.log_strength.exp() * cosines, dim=-1)
        return (attention @ state["labels"]).clamp(min=LEAST_MASS).log()

    def graphs(self, feature_size: int) -> HeadGraphs:
        """See `Head.graphs`."""
        return memory_head_graphs(self.parameters_for_export())

    def parameters_for_export(self) -> MemoryHeadParameters:
        """The learned numbers that the exported graphs hold as constants."""
        return MemoryHeadParameters(
            weight=self.controller.weight.detach().cpu().numpy(),
            bias=self.controller.bias.detach().cpu().numpy(),
            strength=self.log_strength.exp().item(),
            gate=self.alpha.sigmoid().item(),
            slots=self.slots,
        )


class Memory:
    """Slots that are written one round after another.

    Attributes:
        keys: what was written of the keys [..., S, K].
        labels: what was written of the labels [..., S, N]; all 0 in a blank slot, and of one class in any other.
        usage: how much and how recently each slot was read and written [..., S], without gradient.
    """

    def __init__(self, blank: Tensor, n_way: int) -> None:
        self.keys = blank
        self.labels = blank.new_zeros(*blank.shape[:-1], n_way)
        self.usage = blank.new_zeros(blank.shape[:-1])

    def write(self, keys: Tensor, labels: Tensor, is_image: Tensor, strength: Tensor, gate: Tensor) -> None:
        """Write a round: keys of length 1 [..., R, K], one-hot labels [..., R, N], 1 for an image or 0 for none [..., R, 1]."""
        slots = self.usage.argsort(dim=-1, stable=True)[..., : keys.shape[-2]]  # [..., R]
        least_used = functional.one_hot(slots, self.usage.shape[-1]).to(keys.dtype) * is_image  # [..., R, S]
        kept = 1 - least_used.sum(-2).unsqueeze(-1)  # [..., S, 1]
        self.keys, self.labels = kept * self.keys, kept * self.labels
        read = self.read_own(keys, labels, strength)  # [..., R, S]
        write = gate * read + (1 - gate) * least_used
        self.keys = self.keys + write.transpose(-1, -2) @ keys
        self.labels = self.labels + write.transpose(-1, -2) @ labels
        self.usage = DECAY * self.usage + (read + write).detach().sum(-2)

    def read_own(self, keys: Tensor, labels: Tensor, strength: Tensor) -> Tensor:
        """The weights with which each key reads the slots that hold its label [..., R, S]; all 0 where there are none."""
        cosines = keys @ functional.normalize(self.keys, dim=-1).transpose(-1, -2)
        is_own = (labels @ self.labels.detach().transpose(-1, -2)) > 0
        scores = (strength * cosines).masked_fill(~is_own, torch.finfo(keys.dtype).min)
        return torch.softmax(scores, dim=-1) * is_own


def rounds(one_hot: Tensor) -> tuple[Tensor, Tensor]:
    """In which rounds a support set is written: an image of each class in the last one, and so on back to its first.

    Args:
        one_hot: the labels [..., M, N].

    Returns:
        Which image each place of each round takes, int64 [..., rounds, N], in the order given; and 1 where there is an image, or
        0 [..., rounds, N, 1].
    """
    n_images, n_way = one_hot.shape[-2:]
    following = one_hot.flip(-2).cumsum(-2).flip(-2)  # of the same class, with itself
    order = (following * one_hot).sum(-1).argsort(dim=-1, descending=True, stable=True)  # [..., M]
    shots = one_hot.sum(-2, keepdim=True)  # [..., 1, N]
    still_to_come = torch.arange(int(shots.max()) - 1, -1, -1, device=shots.device).unsqueeze(-1)  # [rounds, 1]
    size = (shots > still_to_come).sum(-1, keepdim=True)  # [..., rounds, 1]
    place = torch.arange(n_way, device=shots.device)
    position = (size.cumsum(-2) - size + place).clamp(max=n_images - 1)  # [..., rounds, N]
    images = order.gather(-1, position.flatten(-2)).view_as(position)
    return images, (place < size).unsqueeze(-1).to(one_hot.dtype)


def _pick(rows: Tensor, chosen: Tensor) -> Tensor:
    """Rows [..., M, C] by their numbers [..., R, N]: [..., R, N, C]."""
    numbers = chosen.flatten(-2).unsqueeze(-1)
    picked = rows.gather(-2, numbers.expand(*numbers.shape[:-1], rows.shape[-1]))
    return picked.view(*chosen.shape, rows.shape[-1])


@dataclass(frozen=True)
class MemoryAugmented(Method):
    """An external memory that the support set is written into."""

    name: ClassVar[str] = "memory"
    summary: ClassVar[str] = "write the support set into an external memory, and read it"

    def head(self, feature_size: int, centred: bool) -> Head:
        """See `Method.head`."""
        return MemoryHead(feature_size)
