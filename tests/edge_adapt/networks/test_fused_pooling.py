"""Normalization, pooling and ReLU as one, beside PyTorch's layers."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.networks.backbones import Conv4, fuse
from edge_adapt.networks.backbones import fused_pooling as fused
from edge_adapt.networks.backbones.fused_pooling import normalized_maxima


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loops as PyTorch's own operators, which need no compiler."""
    monkeypatch.setattr(fused, "_compiled", lambda function: function)


def layers(normalization: nn.Module, maps: Tensor) -> Tensor:
    """In the order of the papers."""
    return functional.max_pool2d(functional.relu(normalization(maps)), 2)


def as_one(normalization: nn.Module, maps: Tensor) -> Tensor:
    return normalized_maxima(normalization, maps, fused=True)


def block(channels: int, generator: torch.Generator) -> nn.BatchNorm2d:
    """With weights of either sign."""
    normalization = nn.BatchNorm2d(channels, dtype=torch.float64)
    with torch.no_grad():
        normalization.weight.copy_(torch.randn(channels, generator=generator))
        normalization.bias.copy_(torch.randn(channels, generator=generator))
    return normalization


def passed(
    function: Callable[[nn.Module, Tensor], Tensor], normalization: nn.BatchNorm2d, maps: Tensor
) -> list[Tensor]:
    """Output, gradients and running statistics."""
    maps = maps.detach().clone().requires_grad_()
    normalization.zero_grad()
    normalization.reset_running_stats()
    output = function(normalization, maps)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(7)).to(output)
    (output * weights).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [maps.grad, normalization.weight.grad, normalization.bias.grad]
    statistics = [normalization.running_mean, normalization.running_var, normalization.num_batches_tracked]
    return [output.detach(), *(tensor.clone() for tensor in [*gradients, *statistics] if tensor is not None)]


@pytest.mark.usefixtures("uncompiled")
@settings(deadline=None)
@given(
    batch=st.integers(1, 3),
    channels=st.integers(1, 5),
    height=st.integers(1, 4),
    width=st.integers(1, 4),
    values=st.sampled_from(["continuous", "with ties"]),
    seed=st.integers(0, 2**16),
)
def test_output_gradients_and_statistics_are_those_of_the_layers(
    batch: int, channels: int, height: int, width: int, values: str, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(batch, channels, 2 * height, 2 * width, dtype=torch.float64, generator=generator)
    if values == "with ties":  # whose gradient goes to the first
        maps = maps.round()
    normalization = block(channels, generator)
    for ours, theirs in zip(passed(as_one, normalization, maps), passed(layers, normalization, maps), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("uncompiled")
def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    normalization = block(3, generator)
    maps = torch.randn(2, 3, 4, 6, dtype=torch.float64, generator=generator, requires_grad=True)

    def of_all(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        replaced = {"normalization.weight": weight, "normalization.bias": bias}
        result: Tensor = torch.func.functional_call(Block(normalization), replaced, maps)
        return result

    assert torch.autograd.gradcheck(of_all, (maps, normalization.weight, normalization.bias))


class Block(nn.Module):
    """A normalization with what follows it."""

    def __init__(self, normalization: nn.Module) -> None:
        super().__init__()
        self.normalization = normalization

    def forward(self, maps: Tensor) -> Tensor:
        return as_one(self.normalization, maps)


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize(
    ("normalization", "shape"),
    [
        (nn.BatchNorm2d(8).eval(), (2, 8, 4, 4)),
        (nn.GroupNorm(2, 8), (2, 8, 4, 4)),
        (nn.BatchNorm2d(8), (2, 8, 5, 4)),
        (nn.BatchNorm2d(8), (2, 8, 4, 5)),
        (nn.BatchNorm2d(8, affine=False), (2, 8, 4, 4)),
        (nn.BatchNorm2d(8, momentum=None), (2, 8, 4, 4)),
    ],
    ids=["evaluation", "groups", "odd height", "odd width", "no weights", "plain means of statistics"],
)
def test_what_is_not_fused_is_what_the_layers_give(
    normalization: nn.Module, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(fused, "_NormalizedMaxima")
    maps = torch.randn(shape)
    assert torch.equal(as_one(normalization, maps), layers(normalization, maps))


def test_blocks_are_not_fused_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(fused, "_NormalizedMaxima")
    normalization, maps = nn.BatchNorm2d(8), torch.randn(2, 8, 4, 4)
    assert torch.equal(normalized_maxima(normalization, maps, fused=False), layers(normalization, maps))
    with pytest.raises(NameError):
        as_one(normalization, maps)


@pytest.mark.usefixtures("uncompiled")
def test_what_is_not_a_number_stays_so() -> None:
    maps = torch.randn(2, 3, 4, 4)
    maps[0, 1, 2, 3] = torch.nan
    assert as_one(nn.BatchNorm2d(3), maps)[:, 1].isnan().all()


@pytest.mark.usefixtures("uncompiled")
def test_second_derivatives_are_refused() -> None:
    maps = torch.randn(2, 3, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(as_one(nn.BatchNorm2d(3), maps).square().sum(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()  # type: ignore[no-untyped-call]


@pytest.mark.skipif(
    not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))), reason="there is no C++ compiler"
)
@pytest.mark.slow
def test_a_backbone_compiled_learns_what_one_of_layers_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to rounding; to the bit what it gave before."""
    images = torch.randn(12, 1, 28, 28, generator=torch.Generator().manual_seed(3))
    compiled, called = fused._compiled, Counter[str]()

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        called[function.__name__] += 1
        return compiled(function)

    monkeypatch.setattr(fused, "_compiled", counted)

    def learned(enabled: bool) -> list[Tensor]:
        torch.manual_seed(0)
        backbone = Conv4(1, fused=enabled)
        backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        features = backbone(images)
        features.float().square().mean().backward()
        return [
            features.float(),
            *(parameter.grad for parameter in backbone.parameters() if parameter.grad is not None),
        ]

    plain = learned(False)
    assert not called
    ours, again = learned(True), learned(True)
    assert called == {"_pool": 4, "_sums": 4, "_spread": 4}  # of 28x28 and 14x14, twice
    assert all(torch.equal(one, other) for one, other in zip(ours, again, strict=True))
    for one, other in zip(ours, plain, strict=True):
        assert (one - other).norm() <= 1e-4 * other.norm()


def test_every_conv4_of_a_module_is_fused_or_not() -> None:
    several = nn.Sequential(Conv4(1), nn.Sequential(Conv4(3, fused=True)))
    for wanted in (True, False):
        fuse(several, wanted)
        assert [module.fused for module in several.modules() if isinstance(module, Conv4)] == [wanted, wanted]
