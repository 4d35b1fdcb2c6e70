"""Reptile: adapt all layers to a task by ordinary training, and move the initialization towards where that led.

Nichol et al., "On First-Order Meta-Learning Algorithms", 2018, https://arxiv.org/abs/1803.02999. There is no query set: the shots
and queries of an episode are one training set, and each inner step takes `n_shot` images a class of it, others than the step
before; it is the product of gradients on different images that makes an initialization which adapts well (section 5.1 there). The
outer loop hands initialization less adapted weights to its optimizer as if that were a gradient, as section 3 there suggests.

Of the head nothing is learned: it starts from the prototypes of the first step's images, or from zero, and its rates stay 1 in
the unit of `InnerLoop`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from edge_adapt.methods.episodes import labels_of
from edge_adapt.methods.method import GradientMethod
from edge_adapt.methods.objective import Episodic, Objective, StepMetrics, TrainingData
from edge_adapt.networks.inner_loop import InnerLoop, predict
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError

INNER_RATE = 0.05
"""Of the backbone; nothing learns it."""


class MoveTowardsAdapted(Episodic):
    """The outer loop of Reptile; see `edge_adapt.methods.objective.Objective`.

    Args:
        data: what to draw from.
        steps: of the inner loop.

    Raises:
        EdgeAdaptError: the images of an episode make no second part, and every step would take the same ones.
    """

    def __init__(self, data: TrainingData, steps: int) -> None:
        super().__init__(data, steps)
        shape = data.episodes
        if shape.n_query < shape.n_shot:
            raise EdgeAdaptError(
                f"reptile takes other images in each step, and {shape.n_query} queries a class are fewer than its "
                f"{shape.n_shot} shots; choose --query {shape.n_shot} or more."
            )

    def accumulate(self, learner: MetaLearner, count: int, share: float, spent: float = 0.0) -> StepMetrics:
        """The loss and the accuracy of the last inner step, before it was taken; the gradient is how far the weights moved, back.

        The mean over `count` episodes.
        """
        shape, steps = self._data.episodes, self._steps
        images = self.draw(count, learner, spent)
        batches = _batches(images, shape.n_shot)  # [E, S, N * n_shot, C, H, W]
        labels = labels_of(shape.n_way, shape.n_shot, images.device)
        loop, head = learner.all_layers()
        backbone = learner.embedding.backbone
        under_vmap = loop.at_once(images.device)

        def one(batches: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
            """One episode to its adapted weights, and the last step's loss and logits."""
            states = list(loop.trajectory(backbone, head, batches, labels, shape.n_way, steps, under_vmap))
            loss = states[-1].loss
            assert loss is not None  # there is a step
            last = batches[(steps - 1) % len(batches)]
            return states[-1].parameters, loss, predict(backbone, head, last, states[-2].parameters)

        with torch.no_grad():  # what the inner loop needs it takes itself
            if under_vmap:
                adapted, losses, logits = torch.vmap(one, randomness="different")(batches)
            else:
                ends = [one(batch) for batch in batches]
                adapted = {name: torch.stack([end[0][name] for end in ends]) for name in ends[0][0]}
                losses, logits = (torch.stack([end[index] for end in ends]) for index in (1, 2))  # type: ignore[misc]
        for name, parameter in backbone.named_parameters():
            way_back = share * (parameter.detach() - adapted[f"backbone.{name}"].mean(0))
            parameter.grad = way_back if parameter.grad is None else parameter.grad + way_back
        return StepMetrics(losses.mean(), (logits.argmax(-1) == labels).float().mean())


def _batches(images: Tensor, n_shot: int) -> Tensor:
    """Episodes [E, N, K, ...] in parts of `n_shot` images a class, [E, K // n_shot, N * n_shot, ...]; a rest is not used."""
    parts = torch.split(images, n_shot, dim=2)[: images.shape[2] // n_shot]
    return torch.stack(parts, dim=1).flatten(2, 3)


@dataclass(frozen=True)
class Reptile(GradientMethod):
    """Move towards the weights that ordinary training on a task leads to."""

    name: ClassVar[str] = "reptile"
    summary: ClassVar[str] = "move towards the weights that ordinary training on a task leads to"
    adapts_all_layers: ClassVar[bool] = True

    def inner_loop(self, backbone: nn.Module) -> InnerLoop:
        """With rates that nothing learns."""
        loop = InnerLoop(backbone, "tensor", self.steps, first_order=True)
        for rate in loop.rates.values():
            nn.init.constant_(rate, torch.tensor(INNER_RATE).log().item())
        return loop.requires_grad_(False)

    def objective(self, learner: MetaLearner, data: TrainingData) -> Objective:
        """See `MoveTowardsAdapted`."""
        return MoveTowardsAdapted(data, self.steps)
