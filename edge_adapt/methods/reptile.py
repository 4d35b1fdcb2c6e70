"""Reptile: adapt all layers to a task by ordinary training, and move the initialization towards where that led.

Nichol et al., "On First-Order Meta-Learning Algorithms", 2018, https://arxiv.org/abs/1803.02999. There is no query set: the shots
and queries of an episode are one training set, and each inner step takes `n_shot` images a class of it, others than the step
before; it is the product of gradients on different images that makes an initialization which adapts well (section 5.1 there). The
outer loop hands initialization less adapted weights to its optimizer as if that were a gradient, as section 3 there suggests.

Of the head nothing is learned: it starts from the prototypes of the first step's images, or from zero, and its rates stay 1 in
the unit of `InnerLoop`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edge_adapt.methods.episodes import labels_of
from edge_adapt.methods.method import Method
from edge_adapt.methods.objective import Episodic, TrainingData, normalized_episodes
from edge_adapt.networks.inner_loop import InnerLoop, predict
from edge_adapt.networks.learner import MetaLearner
from edge_adapt.runtime.errors import EdgeAdaptError

if TYPE_CHECKING:
    from edge_adapt.training.config import TrainingConfig

INNER_RATE = 0.05
"""Of the backbone; nothing learns it."""


class MoveTowardsAdapted(Episodic):
    """The outer loop of Reptile; see `edge_adapt.methods.objective.Objective`.

    Args:
        config: ways, shots, queries, steps, and how many episodes a step takes.
        data: what to draw from.

    Raises:
        EdgeAdaptError: the images of an episode make no second part, and every step would take the same ones.
    """

    def __init__(self, config: TrainingConfig, data: TrainingData) -> None:
        super().__init__(config, data)
        if config.n_query < config.n_shot:
            raise EdgeAdaptError(
                f"reptile takes other images in each step, and {config.n_query} queries a class are fewer than its "
                f"{config.n_shot} shots; choose --query {config.n_shot} or more."
            )

    def loss(self, learner: MetaLearner, count: int, spent: float = 0.0) -> tuple[Tensor, Tensor]:
        """The loss and the accuracy of the last inner step, before it was taken; the gradient is how far the weights moved, back.

        The mean over `count` episodes.
        """
        config = self._config
        images = normalized_episodes(learner, self.draw(count), self._data.augmentation_at(spent))
        batches = _batches(images, config.n_shot)  # [E, S, N * n_shot, C, H, W]
        labels = labels_of(config.n_way, config.n_shot, images.device)
        loop, head = learner.all_layers()
        backbone = learner.embedding.backbone
        steps, under_vmap = config.inner_steps, loop.at_once(images.device)

        def one(batches: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
            """One episode to its adapted weights, and the last step's loss and logits."""
            states = list(loop.trajectory(backbone, head, batches, labels, config.n_way, steps, under_vmap))
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
        found = losses.mean()
        for name, parameter in backbone.named_parameters():
            way_back = parameter.detach() - adapted[f"backbone.{name}"].mean(0)
            found = found + ((parameter - parameter.detach()) * way_back).sum()
        return found, (logits.argmax(-1) == labels).float().mean()


def _batches(images: Tensor, n_shot: int) -> Tensor:
    """Episodes [E, N, K, ...] in parts of `n_shot` images a class, [E, K // n_shot, N * n_shot, ...]; a rest is not used."""
    parts = torch.split(images, n_shot, dim=2)[: images.shape[2] // n_shot]
    return torch.stack(parts, dim=1).flatten(2, 3)


def _inner_loop(config: TrainingConfig, backbone: nn.Module) -> InnerLoop:
    loop = InnerLoop(backbone, "tensor", config.inner_steps, first_order=True)
    for rate in loop.rates.values():
        nn.init.constant_(rate, torch.tensor(INNER_RATE).log().item())
    return loop.requires_grad_(False)


METHOD = Method(
    "move towards the weights that ordinary training on a task leads to",
    objective=MoveTowardsAdapted,
    inner_loop=_inner_loop,
)
