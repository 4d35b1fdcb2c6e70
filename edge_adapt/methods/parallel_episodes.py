"""Episodes of an inner loop on all layers, side by side on the cores of a CPU.

An operation on a few small images does not keep several cores busy, and an inner loop is many of them, one after the other. So
each core takes episodes of its own, from the images to the gradient, on a copy of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from edge_adapt.networks.learner import MetaLearner

Loss = Callable[[MetaLearner, Tensor], tuple[Tensor, Tensor]]
"""A model and normalized images of episodes [E, N, K, C, H, W], to the mean loss and the share of right answers (scalars)."""


def pays(learner: MetaLearner, images: Tensor) -> bool:
    """Whether episodes can go side by side: their inner loop adapts all layers, there are several of them, and several threads,
    and a copy learns what the model would.

    Not so where the backbone keeps statistics of its own, nor where something has drawn random numbers, as dropout does: those
    would depend on which thread comes first.
    """
    several = len(images) > 1 and torch.get_num_threads() > 1 and torch.is_grad_enabled()
    if images.device.type != "cpu" or not several or learner.inner_loop is None:
        return False
    backbone = learner.embedding.backbone
    loop, _ = learner.all_layers()
    return not loop.draws_numbers and next(backbone.buffers(), None) is None


def accumulate(loss: Loss, learner: MetaLearner, images: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Add the gradient of `loss` over all episodes, times `share`, to the parameters' own: each episode is computed alone, as
    many at once as there are threads.

    The same to the last bit from one call to the next: gradients are added in the order of the episodes, and each is computed by
    one thread (or, where there are fewer episodes than threads, by as many as there are for it).

    Returns:
        The mean loss and the share of right answers (scalars).
    """
    before = torch.get_rng_state()
    mean, accuracy, *gradients = _means(loss, learner, images)
    assert mean is not None and accuracy is not None  # which each episode has
    if not torch.equal(before, torch.get_rng_state()):
        loop, _ = learner.all_layers()
        loop.draws_numbers = True  # from now on one after the other
        torch.set_rng_state(before)
        mean, accuracy = loss(learner, images)
        (mean * share).backward()  # type: ignore[no-untyped-call]
        return mean.detach(), accuracy
    for parameter, gradient in zip(_learned(learner), gradients, strict=True):
        if gradient is not None:
            own = gradient * share
            parameter.grad = own if parameter.grad is None else parameter.grad + own
    return mean, accuracy


def _means(loss: Loss, learner: MetaLearner, images: Tensor) -> list[Tensor | None]:
    """Over the episodes: of the loss, the accuracy and each gradient."""
    threads, episodes = torch.get_num_threads(), torch.split(images, 1)
    lanes = min(threads, len(episodes))
    bf16, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def lane(first: int) -> list[tuple[Tensor | None, ...]]:
        """Of every `lanes`-th episode. Number of threads and precision are a thread's own."""
        torch.set_num_threads(threads // lanes)
        model = copy.deepcopy(learner)
        found = []
        for episode in episodes[first::lanes]:
            model.zero_grad()
            with torch.autocast("cpu", dtype, enabled=bf16):
                mean, accuracy = loss(model, episode)
            mean.backward()  # type: ignore[no-untyped-call]
            found.append((mean.detach(), accuracy, *(parameter.grad for parameter in _learned(model))))
        return found

    try:
        with ThreadPoolExecutor(lanes) as pool:
            of_lanes = list(pool.map(lane, range(lanes)))
    finally:
        torch.set_num_threads(threads)
    in_order = [of_lanes[number % lanes][number // lanes] for number in range(len(episodes))]
    return list(map(_mean, zip(*in_order, strict=True)))


def _learned(learner: MetaLearner) -> list[torch.nn.Parameter]:
    return [parameter for parameter in learner.parameters() if parameter.requires_grad]


def _mean(column: Sequence[Tensor | None]) -> Tensor | None:
    """None where an episode has none: a tensor that the loss does not depend on."""
    there = [tensor for tensor in column if tensor is not None]
    return torch.stack(there).mean(0) if len(there) == len(column) else None
