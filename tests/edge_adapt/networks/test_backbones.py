"""Backbones: sizes that the documentation promises, and gradients that reach every weight."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.nn import functional

from edge_adapt.networks.backbones import BACKBONES, Conv4
from edge_adapt.networks.backbones.layers import Part, classified, parts_of


def multiply_adds(backbone: nn.Module, size: int) -> int:
    """Of the convolutions, for one image of `size` x `size` pixels."""
    total = 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        total += output[0].numel() * weight[0].numel()

    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        backbone.eval()(torch.zeros(1, 3, size, size))
    return total


def test_edge_keeps_within_its_budget() -> None:
    backbone = BACKBONES["edge"](3, "batch")
    assert 2 * multiply_adds(backbone, 84) <= 0.25e9
    assert sum(parameter.numel() for parameter in backbone.parameters()) <= 2_000_000


@pytest.mark.parametrize(("name", "features"), [("conv4", 320), ("edge", 448), ("resnet12", 640)])
@pytest.mark.parametrize("normalization", ["batch", "group"])
def test_every_weight_has_a_part_in_the_features(name: str, features: int, normalization: str) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES[name](3, normalization)  # type: ignore[arg-type]
    images = torch.rand(3, 3, 84, 84)
    output = backbone(images)
    assert output.shape == (3, features) and output.dtype == torch.float32
    output.square().sum().backward()
    for parameter_name, parameter in backbone.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", list(BACKBONES))
def test_features_do_not_depend_on_the_images_beside(name: str) -> None:
    torch.manual_seed(0)
    backbone = BACKBONES[name](1, "batch").eval()
    images = torch.rand(4, 1, 84, 84)
    with torch.no_grad():
        together = backbone(images)
        alone = torch.cat([backbone(image[None]) for image in images])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_parts_are_the_features_of_edge_from_the_last_layer_down() -> None:
    torch.manual_seed(0)
    backbone = BACKBONES["edge"](3, "batch").eval()
    seen: list[torch.Tensor] = []
    for layer in backbone.get_submodule("layers").children():
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    last, middle, low = features_in_parts(backbone, torch.rand(2, 3, 84, 84))
    assert torch.equal(last, seen[5].mean((2, 3)))
    assert torch.equal(middle, seen[4].flatten(2).amax(2))
    assert torch.equal(low, seen[2].flatten(2).amax(2))


@pytest.mark.parametrize("channels", [1, 3])
def test_parts_are_the_features_of_conv4_from_the_last_layer_down(channels: int) -> None:
    torch.manual_seed(0)
    columns_of = {
        1: HALVES_OF_FIVE,
        3: (slice(None),),
    }  # a mirrored photo shows the same thing, a mirrored drawing may not
    backbone = BACKBONES["conv4"](channels, "batch").eval()
    seen: list[torch.Tensor] = []
    for layer in backbone.get_submodule("normalizations").children():
        layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
    last, means, maxima, low_maxima = features_in_parts(backbone, torch.rand(2, channels, 84, 84))
    low, middle, top = (functional.relu(functional.max_pool2d(normalized, 2)) for normalized in seen[1:])
    regions = [top[:, :, rows, columns].mean((2, 3)) for rows in HALVES_OF_FIVE for columns in columns_of[channels]]
    assert torch.allclose(last, torch.stack(regions, 2).flatten(1), atol=1e-6)
    assert torch.allclose(means, middle.flatten(2).mean(2), atol=1e-6)
    assert torch.equal(maxima, middle.flatten(2).amax(2))
    assert torch.equal(low_maxima, low.flatten(2).amax(2))


HALVES_OF_FIVE = (slice(0, 3), slice(2, 5))


def features_in_parts(backbone: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        features: torch.Tensor = backbone(images)
    return torch.split(features, [part.size for part in parts_of(backbone, features.shape[1])], 1)


def test_features_of_drawings_are_the_last_position_of_conv4() -> None:
    backbone = BACKBONES["conv4"](1, "batch").eval()
    features = backbone(torch.rand(2, 1, 28, 28))
    assert features.shape == (2, 64)
    assert torch.equal(classified(backbone, features), features)
    assert parts_of(backbone, 64) == (Part(64, 1.0),)


def test_a_backbone_that_says_nothing_has_features_of_one_kind() -> None:
    assert parts_of(BACKBONES["resnet12"](3, "batch"), 640) == (Part(640, 1.0),)


def test_classifiers_look_at_the_last_layer_of_edge() -> None:
    features = torch.rand(2, 448)
    assert torch.equal(classified(BACKBONES["edge"](3, "batch"), features), features[:, :256])


def test_classifiers_look_at_the_means_over_the_positions_of_conv4() -> None:
    torch.manual_seed(0)
    backbone = BACKBONES["conv4"](3, "batch").eval()
    maps: list[torch.Tensor] = []
    last = backbone.get_submodule("normalizations.3")
    last.register_forward_hook(lambda module, inputs, output: maps.append(output))
    with torch.no_grad():
        seen = classified(backbone, backbone(torch.rand(2, 3, 84, 84)))
    pooled = functional.relu(functional.max_pool2d(maps[0], 2))
    assert torch.allclose(seen, functional.adaptive_avg_pool2d(pooled, (2, 1)).mean((2, 3)), atol=1e-6)


def test_classifiers_look_at_all_features_of_a_backbone_that_says_nothing() -> None:
    features = torch.rand(2, 7)
    assert torch.equal(classified(torch.nn.Flatten(), features), features)


@pytest.mark.parametrize(("size", "halves"), [(28, 1), (32, 2), (48, 2), (84, 2)])
def test_conv4_is_four_blocks_of_convolution_normalization_relu_and_pooling(size: int, halves: int) -> None:
    torch.manual_seed(0)
    backbone = Conv4(3)
    images = torch.randn(5, 3, size, size)
    for normalization in backbone.normalizations:
        nn.init.normal_(normalization.weight)  # type: ignore[arg-type]
    blocks: list[nn.Module] = []
    for convolution, normalization in zip(backbone.convolutions, backbone.normalizations, strict=True):
        blocks += [convolution, normalization, nn.ReLU(), nn.MaxPool2d(2)]
    expected = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d((halves, 1)), nn.Flatten())
    count = 64 * halves
    for mode in (True, False):
        last = backbone.train(mode)(images)[:, :count]
        torch.testing.assert_close(last, expected.train(mode)(images), rtol=1e-4, atol=1e-5)
