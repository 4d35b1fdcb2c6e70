"""An inner loop on all layers: it adapts the features that the device has, whatever the backbone."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt.methods.episodes import ImageSampler
from edge_adapt.methods.objective import MULTI_STEP_SHARE
from edge_adapt.networks import inner_loop
from edge_adapt.training.build import build_learner
from edge_adapt.training.start import drawing_from
from tests.gratings import gratings
from tests.training_runs import Configure, Small

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("backbone", "image_size"),
    [("conv4", 28), ("conv4", 36), ("edge", 36), pytest.param("resnet12", 36, marks=pytest.mark.slow)],
)
def test_before_its_first_step_it_answers_as_the_last_layer_alone(
    backbone: str, image_size: int, tiny_config: Configure
) -> None:
    config = tiny_config(method="fomaml", backbone=backbone, image_size=image_size, grayscale=False, steps=2)
    torch.manual_seed(0)
    learner = build_learner(config, torch.full((3,), 0.5), torch.full((3,), 0.3)).eval()
    images = torch.randint(0, 256, (4 * 3 + 5, image_size, image_size, 3), dtype=torch.uint8)
    labels = torch.arange(4).repeat_interleave(3)
    normalized = learner.embedding.normalize(images)
    with torch.no_grad():
        features = learner.embed(images)
        state, _ = learner.adapt(features[:12], labels, 4, 0)
        expected = learner.predict(features[12:], state)
    adapted, _ = learner.adapt_all_layers(normalized[:12], labels, 4, 0)
    found = learner.predict_all_layers(normalized[12:], adapted)
    # Up to a term of each query that softmax cancels: the last layer alone takes the support mean out of the features.
    torch.testing.assert_close(found.log_softmax(1), expected.log_softmax(1), rtol=1e-4, atol=1e-4)
    moved, losses = learner.adapt_all_layers(normalized[:12], labels, 4, 2)
    assert losses[1] < losses[0] and moved["head.weight"].shape == adapted["head.weight"].shape


class WithSomethingUnused(Small):
    """A backbone with a layer that it does not use."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)


@pytest.mark.parametrize("method", ["maml", "fomaml", "meta-sgd", "reptile"])
def test_what_the_backbone_does_not_use_stays(method: str, tiny_config: Configure) -> None:
    config = tiny_config(method=method, backbone="custom", steps=2, n_query=5)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), WithSomethingUnused())
    images, labels = torch.randn(10, 1, 28, 28), torch.arange(5).repeat_interleave(2)
    adapted, _ = learner.adapt_all_layers(images, labels, 5, 2)
    for name, parameter in learner.embedding.backbone.named_parameters():
        assert torch.equal(adapted[f"backbone.{name}"], parameter) == name.startswith("unused.")


def test_queries_after_earlier_steps_are_answered_while_they_count(
    tiny_config: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(method="maml", backbone="custom", steps=3, multi_step_loss=True)
    drawing = drawing_from(ImageSampler(gratings(8, 8), CPU), config)
    learner = build_learner(config, torch.tensor([0.5]), torch.tensor([0.3]), Small())
    objective = config.method.objective(learner, drawing)
    answered, predict = 0, inner_loop.predict

    def counting(*arguments: Any) -> Tensor:
        nonlocal answered
        answered += 1
        return predict(*arguments)

    monkeypatch.setattr("edge_adapt.methods.objective.predict", counting)
    found = []
    for spent in (MULTI_STEP_SHARE / 2, MULTI_STEP_SHARE, 1.0):
        answered = 0
        drawing.generator.manual_seed(0)
        loss, _ = objective.accumulate(learner, 1, 1.0, spent)
        found.append((answered, loss.item()))
    assert [count for count, _ in found] == [3, 1, 1]
    assert found[1][1] == found[2][1] != found[0][1]
