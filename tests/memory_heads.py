"""The memory head once more, in NumPy, float64 and plain loops, and heads with numbers drawn at random to compare it with."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edge_adapt.methods.memory import MemoryHead

Array = NDArray[np.float64]

DECAY = 0.99


class Written(NamedTuple):
    """A memory after the support set has been written into it.

    Attributes:
        keys: [S, K].
        labels: [S, N].
        margin: the least difference between the usage of a slot that was chosen and of one left alone, where there was any.
        shortest: the least length of what was brought to length 1; what is all but 0 has no direction that rounding leaves alone.
    """

    keys: Array
    labels: Array
    margin: float
    shortest: float


def random_head(feature_size: int, seed: int, slots: int = 512) -> MemoryHead:
    """A float32 head with a controller, a strength and a gate of its own."""
    import torch

    from edge_adapt.methods.memory import MemoryHead

    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    head = MemoryHead(feature_size, slots)
    with torch.no_grad():
        head.controller.bias.copy_(torch.from_numpy(random.normal(0, 0.1, len(head.controller.bias))))
        head.log_strength.fill_(np.log(random.uniform(2, 15)))
        head.alpha.fill_(random.uniform(-3, 3))
    return head


def numbers(head: MemoryHead) -> tuple[Array, Array, float, float]:
    """Weight, bias, strength and gate of a head."""
    weight, bias = (tensor.detach().double().numpy() for tensor in (head.controller.weight, head.controller.bias))
    return weight, bias, float(np.exp(head.log_strength.item())), 1 / (1 + float(np.exp(-head.alpha.item())))


def key_of(feature: NDArray[np.floating], weight: Array, bias: Array) -> Array:
    """A key of length 1."""
    mapped = weight @ np.asarray(feature, np.float64) + bias
    return np.asarray(mapped / np.sqrt(mapped @ mapped))


def attend(key: Array, keys: Array, strength: float) -> Array:
    """The softmax of the cosines between a key and others, times the strength."""
    scores = np.array([strength * (key @ other) / np.sqrt(other @ other) for other in keys])
    exponentials = np.exp(scores - scores.max())
    return np.asarray(exponentials / exponentials.sum())


def write(
    features: NDArray[np.floating], labels: NDArray[np.int64], n_way: int, head: MemoryHead, slots: int = 512
) -> Written:
    """Write a support set [M, D] with labels [M] into a memory."""
    weight, bias, strength, gate = numbers(head)
    slots = min(len(labels), max(slots, n_way))
    keys, classes, mass, usage = np.zeros((slots, len(bias))), np.full(slots, -1), np.zeros(slots), np.zeros(slots)
    left, margin = [int((labels == label).sum()) for label in range(n_way)], np.inf
    shortest = min(float(np.linalg.norm(weight @ feature + bias)) for feature in np.asarray(features, np.float64))
    later = [int((labels[i:] == labels[i]).sum()) for i in range(len(labels))]
    for turn in range(max(left), 0, -1):
        images = [i for i in range(len(labels)) if later[i] == turn]
        by_usage = sorted(range(slots), key=lambda slot: (usage[slot], slot))
        chosen, others = by_usage[: len(images)], by_usage[len(images) :]
        gaps = [usage[other] - usage[slot] for slot in chosen for other in others if usage[other] != usage[slot]]
        margin = min([margin, *gaps])
        for slot in chosen:
            keys[slot], classes[slot], mass[slot] = 0, -1, 0
        accesses = []
        for i, slot in zip(images, chosen, strict=True):
            own = np.flatnonzero(classes == labels[i])
            read = np.zeros(slots)
            if len(own):
                shortest = min([shortest, *np.linalg.norm(keys[own], axis=1)])
                read[own] = attend(key_of(features[i], weight, bias), keys[own], strength)
            accesses.append((i, slot, read, gate * read + (1 - gate) * (np.arange(slots) == slot)))
        usage = DECAY * usage
        for i, slot, read, written in accesses:
            keys += np.outer(written, key_of(features[i], weight, bias))
            mass += written
            classes[slot] = labels[i]
            usage = usage + (read + written)
    table = np.zeros((slots, n_way))
    shortest = min([shortest, *np.linalg.norm(keys, axis=1)])
    for slot in range(slots):
        keys[slot] /= np.sqrt(keys[slot] @ keys[slot])
        table[slot, classes[slot]] = mass[slot] / mass[classes == classes[slot]].sum()
    return Written(keys, table, float(margin), float(shortest))


def read(query: NDArray[np.floating], written: Written, head: MemoryHead) -> Array:
    """Queries [B, D] to logits [B, N]."""
    weight, bias, strength, _ = numbers(head)
    rows = []
    for feature in query:
        attention = attend(key_of(feature, weight, bias), written.keys, strength)
        rows.append(np.log(np.maximum(attention @ written.labels, np.finfo(np.float32).tiny)))
    return np.array(rows)
