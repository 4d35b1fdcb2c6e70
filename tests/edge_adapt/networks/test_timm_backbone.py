"""Backbones of timm by name; what needs timm itself is skipped where it is not installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from edge_adapt.export.embed.from_torch import embed_graph
from edge_adapt.networks.backbones.timm import TimmBackbone
from edge_adapt.networks.build import feature_size
from edge_adapt.networks.learner import Embedding
from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError
from edge_adapt.training.build import build_learner
from edge_adapt.training.config import TrainingConfig
from tests.command_line import complaint, edge_adapt, write_photos


class Network(nn.Module):
    """What the stand-in for timm creates."""

    def __init__(self, in_chans: int) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": (0.2, 0.3, 0.4), "std": (0.1, 0.2, 0.3)}
        self.layer = nn.Conv2d(in_chans, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.layer(images).mean((2, 3))
        return features


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for timm that knows one network and has no network connection."""
    module: Any = ModuleType("timm")

    def create_model(name: str, pretrained: bool, num_classes: int, in_chans: int) -> Network:
        if pretrained and not module.connected:
            raise OSError("no route to host\nsecond line")
        assert num_classes == 0
        return Network(in_chans)

    module.connected = False
    module.list_models = lambda: ["resnet18", "vit_tiny"]
    module.is_model = lambda name: name in module.list_models()
    module.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", module)
    return module  # type: ignore[no-any-return]


def test_without_timm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r'needs timm, .*`pip install "edge-adapt\[timm\]"` brings it\.$'):
        TimmBackbone("resnet18", 3)
    photos = write_photos(tmp_path / "photos", {"red": 3, "green": 3})
    said = complaint(
        edge_adapt("train", photos, "-o", tmp_path / "run", "--way", "2", "--query", "1", "--backbone", "timm:resnet18")
    )
    assert said.endswith('`pip install "edge-adapt[timm]"` brings it.')


def test_a_timm_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("edge_adapt.networks.backbones.timm.importlib", SimpleNamespace(import_module=fail))
    with pytest.raises(
        MissingDependencyError, match=r"^timm cannot be imported \(operator .*goes with this PyTorch\.$"
    ):
        TimmBackbone("resnet18", 3)


@pytest.mark.usefixtures("timm")
def test_an_unknown_name_gives_close_ones() -> None:
    with pytest.raises(EdgeAdaptError, match=r"^timm has no network 'resnet81' \(close: resnet18\); .*\.$"):
        TimmBackbone("resnet81", 3)


def test_pretrained_weights_need_a_network(timm: Any) -> None:
    with pytest.raises(
        EdgeAdaptError, match=r"^timm cannot build resnet18 \(no route to host\); check the network .*\.$"
    ):
        TimmBackbone("resnet18", 3, pretrained=True)
    timm.connected = True
    assert TimmBackbone("resnet18", 3, pretrained=True).pixel_mean == (0.2, 0.3, 0.4)
    assert TimmBackbone("resnet18", 1, pretrained=True).pixel_mean == pytest.approx((0.3,))


def test_pixels_are_normalized_as_pretrained_weights_want_them(timm: Any) -> None:
    timm.connected = True
    config = TrainingConfig.of(backbone="timm:resnet18", pretrained=True, iterations=1)
    learner = build_learner(config, torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(learner.embedding.mean, torch.tensor([0.2, 0.3, 0.4]))
    torch.testing.assert_close(learner.embedding.std, torch.tensor([0.1, 0.2, 0.3]))
    fresh = build_learner(TrainingConfig.of(backbone="timm:resnet18", iterations=1), torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(fresh.embedding.mean, torch.zeros(3))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "efficientnet_lite0"])
def test_networks_of_timm_are_exported(name: str, channels: int) -> None:
    pytest.importorskip("timm", exc_type=Exception)  # type: ignore[arg-type]
    config = TrainingConfig.of(backbone=f"timm:{name}", grayscale=channels == 1, image_size=32, iterations=1)
    learner = build_learner(config, torch.zeros(channels), torch.ones(channels))
    assert feature_size(learner.embedding.backbone, config.preprocessing) > 100
    if channels == 3:
        assert embed_graph(Embedding(learner.embedding.backbone, torch.zeros(3), torch.ones(3)), config.preprocessing)
