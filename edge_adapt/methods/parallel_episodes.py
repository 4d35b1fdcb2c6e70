"""Episodes of an inner loop on all layers, side by side on the cores of a CPU.

An operation on a few small images does not keep several cores busy, and an inner loop is many of them, one after the other. So
each core takes episodes of its own, from the images to the gradient, on a copy of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from edge_adapt.networks.learner import MetaLearner

Loss = Callable[[MetaLearner, Tensor], tuple[Tensor, Tensor]]
"""A model and normalized images of episodes [E, N, K, C, H, W], to the mean loss and the share of right answers (scalars)."""


def pays(learner: MetaLearner, images: Tensor) -> bool:
    """Whether episodes can go side by side: there are several, and several threads, and a copy learns what the model would.

    Not so where the backbone keeps statistics of its own, nor where something has drawn random numbers, as dropout does: those
    would depend on which thread comes first.
    """
    several = len(images) > 1 and torch.get_num_threads() > 1 and torch.is_grad_enabled()
    if images.device.type != "cpu" or not several:
        return False
    backbone = learner.embedding.backbone
    loop, _ = learner.all_layers()
    return not loop.draws_numbers and next(backbone.buffers(), None) is None


def side_by_side(loss: Loss, learner: MetaLearner, images: Tensor) -> tuple[Tensor, Tensor]:
    """What `loss` gives for all episodes, each computed alone with its gradient, as many at once as there are threads.

    The same to the last bit from one call to the next: gradients are added in the order of the episodes, and each is computed by
    one thread (or, where there are fewer episodes than threads, by as many as there are for it).
    """
    parameters = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    before = torch.get_rng_state()
    mean, accuracy = _SideBySide.apply(loss, learner, images, *parameters)  # type: ignore[no-untyped-call]
    if not torch.equal(before, torch.get_rng_state()):
        loop, _ = learner.all_layers()
        loop.draws_numbers = True  # from now on one after the other
        torch.set_rng_state(before)
        return loss(learner, images)
    return mean, accuracy


class _SideBySide(torch.autograd.Function):
    """The gradients are there when the forward pass ends; the backward pass hands them on."""

    @staticmethod
    def forward(ctx: Any, loss: Loss, learner: MetaLearner, images: Tensor, *parameters: Tensor) -> Any:
        threads, episodes = torch.get_num_threads(), torch.split(images, 1)
        lanes = min(threads, len(episodes))
        bf16, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

        def lane(first: int) -> list[tuple[Tensor | None, ...]]:
            """Loss, accuracy and gradients of every `lanes`-th episode. Number of threads and precision are a thread's own."""
            torch.set_num_threads(threads // lanes)
            model = copy.deepcopy(learner)
            own = [parameter for parameter in model.parameters() if parameter.requires_grad]
            found = []
            for episode in episodes[first::lanes]:
                model.zero_grad()
                with torch.autocast("cpu", dtype, enabled=bf16):
                    mean, accuracy = loss(model, episode)
                mean.backward()  # type: ignore[no-untyped-call]
                found.append((mean.detach(), accuracy, *(parameter.grad for parameter in own)))
            return found

        try:
            with ThreadPoolExecutor(lanes) as pool:
                of_lanes = list(pool.map(lane, range(lanes)))
        finally:
            torch.set_num_threads(threads)
        in_order = [of_lanes[number % lanes][number // lanes] for number in range(len(episodes))]
        mean, accuracy, *gradients = map(_mean, zip(*in_order, strict=True))
        ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(accuracy)
        return mean, accuracy

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *(None if each is None else each * outer[0] for each in ctx.saved_tensors)


def _mean(column: Sequence[Tensor | None]) -> Tensor | None:
    """None where an episode has none: a tensor that the loss does not depend on."""
    there = [tensor for tensor in column if tensor is not None]
    return torch.stack(there).mean(0) if len(there) == len(column) else None
