"""MAML's part of first order at the beginning of a training."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.maml import MAML
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import drawing_from
from tests.gratings import gratings
from tests.training_runs import Configure, Small


def gradients(config: TrainingConfig, spent: list[float]) -> list[Tensor]:
    """Of one learner's backbone on the same episode, at these shares of the training, one after the other; [shares, ...] flat."""
    drawing = drawing_from(ImageSampler(gratings(8, 8), torch.device("cpu")), config)
    torch.manual_seed(0)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), Small())
    objective = config.method.objective(learner, drawing)
    found = []
    for share in spent:
        learner.zero_grad()
        drawing.generator.manual_seed(0)
        objective.accumulate(learner, 1, 1.0, share)
        each = [parameter.grad for parameter in learner.embedding.backbone.parameters()]
        found.append(torch.cat([gradient.flatten() for gradient in each if gradient is not None]))
    return found


@pytest.mark.parametrize("more", [{}, {"recompute": True}, {"multi_step_loss": True}])
def test_inner_gradients_are_constants_for_the_first_share_and_then_not(
    more: dict[str, bool], tiny_config: Configure
) -> None:
    def config(**settings: Any) -> TrainingConfig:
        return tiny_config(method="maml", backbone="custom", steps=2, **more, **settings)

    spent = [0.0, 0.29, 0.3, 0.31, 1.0, 0.1]
    found = gradients(config(first_order_share=0.3), spent)
    first, second = gradients(config(first_order=True), spent), gradients(config(), spent)
    for number, share in enumerate(spent):
        expected, other = (first, second) if share < 0.3 else (second, first)
        assert torch.equal(found[number], expected[number]) and not torch.equal(found[number], other[number])


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_cannot_be_is_refused(share: float) -> None:
    with pytest.raises(EdgeAdaptError, match=f"^first_order_share is {share}; take 0 or more and less than 1, "):
        MAML(first_order_share=share)


def test_a_share_of_what_is_of_first_order_anyway_is_refused() -> None:
    with pytest.raises(
        EdgeAdaptError, match=r"^first_order is for all of the training; leave first_order_share out\.$"
    ):
        MAML(first_order=True, first_order_share=0.5)
    with pytest.raises(EdgeAdaptError, match=r"^first_order_share is not for the method fomaml; leave it out\.$"):
        TrainingConfig.of("fomaml", first_order_share=0.5)
