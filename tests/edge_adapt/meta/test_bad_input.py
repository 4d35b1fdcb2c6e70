"""Bad input to the model-agnostic core is one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from edge_adapt.meta import Adaptation, Learner, OuterLoop, Tasks, meta_train
from edge_adapt.runtime.errors import EdgeAdaptError
from tests.meta_problems import Waves, squared_error, tiny_module

ONES = torch.ones(5, 1, dtype=torch.float64)


def adapted(module: nn.Module, loss: Callable[..., Any], **settings: Any) -> nn.Module:
    return Learner(module, loss, Adaptation(**settings)).adapt((ONES, ONES))


def with_batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).double()


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            lambda: adapted(tiny_module(), lambda module, batch: module(batch[0])),
            "the loss gives a tensor of shape [5, 1]; let it give a scalar tensor, such as the mean.",
        ),
        (
            lambda: adapted(tiny_module(), lambda module, batch: module(batch[0]).mean().item()),
            "the loss gives a float; let it give a scalar tensor, such as the mean.",
        ),
        (
            lambda: adapted(tiny_module(), lambda module, batch: module(batch[0]).mean().detach()),
            "the loss does not depend on the module's parameters; compute it from what the module gives, without detaching.",
        ),
        (
            lambda: adapted(with_batch_norm(), squared_error),
            "the loss changes the module's buffer 1.running_mean, which tasks would share; call `module.eval()` first, or take a "
            "normalization without running statistics.",
        ),
        (
            lambda: adapted(tiny_module(), squared_error, adapts="head.*"),
            "adapts is 'head.*', which fits no parameter that requires gradients; there are 0.weight, 0.bias, 2.weight, 2.bias.",
        ),
        (
            lambda: adapted(nn.Tanh(), squared_error),
            "adapts is '*', which fits no parameter that requires gradients; there are none.",
        ),
        (
            lambda: Learner(tiny_module(), squared_error, Adaptation()).adapt((ONES, ONES), steps=-1),
            "steps is -1; take 0 or more.",
        ),
        (
            lambda: Tasks((torch.ones(3, 5), torch.ones(3, 5)), torch.ones(4, 5)),
            "tasks are of unequal shapes: support [3, 5] and [3, 5], query [4, 5]; make the first axis of every tensor the "
            "tasks, as many in the query as in the support.",
        ),
        (
            lambda: Tasks([lambda module: ONES] * 2, torch.ones(4, 5)),
            "tasks are of unequal shapes: support 2 functions, query [4, 5]; make the first axis of every tensor the tasks, as "
            "many in the query as in the support.",
        ),
        (
            lambda: Tasks(torch.ones(()), torch.ones(4)),
            "the support of the tasks holds a tensor of shape []; make the first axis of every tensor the tasks, one or more.",
        ),
        (
            lambda: Tasks(torch.ones(0, 3), torch.ones(0, 3)),
            "the support of the tasks holds a tensor of shape [0, 3]; make the first axis of every tensor the tasks, one or "
            "more.",
        ),
        (
            lambda: Tasks((ONES, "ones"), ONES),
            "the support of the tasks holds a str; give tensors, in tuples, lists and dictionaries, or a list of functions.",
        ),
        (
            lambda: Tasks((), ONES),
            "the support of the tasks holds nothing; give tensors, in tuples, lists and dictionaries, or a list of functions.",
        ),
        (
            lambda: meta_train(
                Learner(tiny_module(), lambda module, batch: squared_error(module, batch) / 0, Adaptation(steps=0)),
                Waves(),
                OuterLoop(2),
            ),
            "the loss is inf in outer step 1; take a smaller rate or learning_rate, or a max_norm.",
        ),
        (lambda: Adaptation(steps=-1), "steps is -1; take 0 or more."),
        (lambda: Adaptation(rate=0.0), "rate is 0.0; take a number above 0."),
        (lambda: Adaptation(rate=float("nan")), "rate is nan; take a number above 0."),
        (
            lambda: Adaptation(learned_rates="layer"),  # type: ignore[arg-type]
            "learned_rates is 'layer'; choose one of tensor, step, element, lstm.",
        ),
        (
            lambda: Adaptation(meta_gradient="implicit"),  # type: ignore[arg-type]
            "meta_gradient is 'implicit'; choose one of second-order, first-order, reptile.",
        ),
        (
            lambda: Adaptation(meta_gradient="reptile", learned_rates="step"),
            "learned_rates is not for reptile, whose way back teaches no rates; leave it out.",
        ),
        (
            lambda: Adaptation(meta_gradient="reptile", steps=0),
            "steps is 0, and reptile is its steps; take 1 or more.",
        ),
        (lambda: OuterLoop(0), "iterations is 0; take 1 or more."),
        (lambda: OuterLoop(1, meta_batch=0), "meta_batch is 0; take 1 or more."),
        (lambda: OuterLoop(1, learning_rate=-1.0), "learning_rate is -1.0; take a number above 0."),
        (lambda: OuterLoop(1, max_norm=0.0), "max_norm is 0.0; take a number above 0."),
    ],
)  # fmt: skip
def test_it_is_refused_in_a_sentence(action: Callable[[], Any], message: str) -> None:
    with pytest.raises(EdgeAdaptError) as error:
        action()
    assert str(error.value) == message


def test_statistics_are_as_before_where_they_are_refused() -> None:
    module = with_batch_norm()
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    with pytest.raises(EdgeAdaptError, match="running_mean"):
        meta_train(Learner(module, squared_error, Adaptation()), Waves(), OuterLoop(1))
    with pytest.raises(EdgeAdaptError, match="running_mean"):
        adapted(module, squared_error)
    assert all(torch.equal(before[name], buffer) for name, buffer in module.named_buffers())
    module.eval()
    adapted(module, squared_error)
    assert all(torch.equal(before[name], buffer) for name, buffer in module.named_buffers())
