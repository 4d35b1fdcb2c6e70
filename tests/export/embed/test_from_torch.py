"""The graph `embed` against the backbone in PyTorch."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")

import onnx
import torch
from torch import Tensor, nn

from edge_adapt.export.embed.from_torch import embed_graph
from edge_adapt.networks.backbones import Conv4
from edge_adapt.networks.learner import Centring, Embedding
from edge_adapt.runtime.bundle.graph_check import ALLOWED_OPERATORS, check_graph
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.sessions import Session
from tests.reference import relative_difference

SIZE = 28


class Own(nn.Module):
    """A backbone of one's own: strides, SiLU, adaptive pooling, a linear layer, LayerNorm and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.SiLU())
        self.rest = nn.Sequential(
            nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 16), nn.Dropout(), nn.LayerNorm(16)
        )

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.stem(images)
        features: Tensor = self.rest(hidden + hidden.mean((2, 3), keepdim=True))
        return features


BACKBONES: dict[str, tuple[int, Callable[[], nn.Module]]] = {
    "conv4 with group norm": (1, lambda: Conv4(1, "group")),
    "conv4, centred": (3, lambda: Conv4(3)),
    "own": (3, Own),
}


@functools.cache
def embedding(name: str) -> Embedding:
    """An embedding in evaluation mode whose running statistics are those of some batches."""
    channels, backbone = BACKBONES[name]
    torch.manual_seed(0)
    centring = Centring(64) if "centred" in name else None
    if centring:
        nn.init.normal_(centring.mean, std=0.1)
        nn.init.normal_(centring.nuisances, std=0.1)
    module = Embedding(backbone(), torch.linspace(0.2, 0.6, channels), torch.linspace(0.1, 0.3, channels), centring)
    with torch.no_grad():
        for seed in range(3):
            module.train()(torch.from_numpy(images(64, channels, seed)))
    return module.eval()


@functools.cache
def graph(name: str) -> bytes:
    """The exported bytes."""
    return embed_graph(embedding(name), Preprocessing(SIZE, SIZE, BACKBONES[name][0]))


def images(count: int, channels: int, seed: int = 9) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, channels)).astype(np.uint8)


def run(name: str, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features of the graph, float32 [B, D]."""
    session = _session(name)
    assert list(session.outputs) == ["features"]
    (features,) = session.run({"images": batch})
    assert features.dtype == np.float32
    return features


@functools.cache
def _session(name: str) -> Session:
    return Session(graph(name), name, ("images",))


every_backbone = pytest.mark.parametrize("name", BACKBONES)


@every_backbone
def test_the_graph_gives_the_features_of_the_module_for_any_batch(name: str) -> None:
    channels = BACKBONES[name][0]
    for count in (1, 2, 3, 64):
        batch = images(count, channels)
        with torch.no_grad():
            expected = embedding(name)(torch.from_numpy(batch)).numpy()
        assert relative_difference(run(name, batch), expected) <= 1e-5


@every_backbone
def test_an_image_has_the_same_features_alone_and_in_a_batch(name: str) -> None:
    batch = images(64, BACKBONES[name][0])
    together = run(name, batch)
    alone = np.concatenate([run(name, image[None]) for image in batch])
    assert relative_difference(alone, together) <= 1e-5
    beside_others = run(name, np.concatenate([batch[:1], 255 - batch[:40]]))[:1]
    assert relative_difference(beside_others, together[:1]) <= 1e-5


@every_backbone
def test_the_file_says_nothing_of_where_it_was_made(name: str) -> None:
    data = graph(name)
    check_graph(data, name)
    for marker in (str(Path(__file__).parents[3]), "site-packages", ".py", "torch", "onnxscript", "/tmp", "Users"):
        assert marker.encode() not in data, marker
    model = onnx.load_from_string(data)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert model.ir_version == 8
    assert not model.producer_name and not model.producer_version and not model.metadata_props
    assert not model.doc_string and not model.functions and not model.graph.value_info
    assert {node.op_type for node in model.graph.node} <= ALLOWED_OPERATORS
    for item in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        assert not item.doc_string and not item.metadata_props


@every_backbone
def test_the_inputs_and_outputs_have_the_shapes_of_the_format(name: str) -> None:
    model = onnx.load_from_string(graph(name))
    (given,), (found,) = model.graph.input, model.graph.output
    batch, *rest = given.type.tensor_type.shape.dim
    assert given.name == "images" and given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [dimension.dim_value for dimension in rest] == [SIZE, SIZE, BACKBONES[name][0]]
    assert batch.WhichOneof("value") == "dim_param"
    assert found.name == "features" and found.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert found.type.tensor_type.shape.dim[0].WhichOneof("value") == "dim_param"


@pytest.mark.parametrize("name", ["conv4, centred", "own"])
def test_batch_norm_is_folded_into_the_convolutions(name: str) -> None:
    model = onnx.load_from_string(graph(name))
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    bias_free = [node for node in model.graph.node if node.op_type == "Conv" and len(node.input) < 3]
    assert not bias_free


def test_exporting_leaves_the_module_as_it_was() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten())
    module = Embedding(backbone, torch.full((3,), 0.5), torch.full((3,), 0.3)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    embed_graph(module, Preprocessing(8, 8, 3))
    assert module.training
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[name]), name


class DependsOnData(nn.Module):
    """Takes another way for bright images."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) if images.sum() > 0 else -images.flatten(1)


class Unknown(nn.Module):
    """Uses what ONNX has no operator for."""

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svdvals(images.flatten(1))
        return values.expand(len(images), -1)


class Raises(nn.Module):
    """Fails."""

    def forward(self, images: Tensor) -> Tensor:
        raise RuntimeError("this module\ncannot be traced")


@pytest.mark.parametrize(
    ("backbone", "expected"),
    [
        (DependsOnData(), "data-dependent"),
        (Unknown(), "svd"),
        (Raises(), "(this module)"),
    ],
)
def test_a_module_that_cannot_be_exported_is_named_in_one_sentence(
    backbone: nn.Module, expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    module = Embedding(backbone, torch.zeros(1), torch.ones(1))
    with pytest.raises(EdgeAdaptError) as caught:
        embed_graph(module, Preprocessing(8, 8, 1))
    message = str(caught.value)
    assert message.startswith(f"the backbone {type(backbone).__name__} cannot be exported to ONNX (")
    assert expected in message and message.endswith(").")
    assert "\n" not in message and "\x1b" not in message
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET


@pytest.mark.parametrize("name", [name for name, (channels, _) in BACKBONES.items() if channels == 3])
def test_pixels_are_normalized_by_the_row(name: str) -> None:
    """Which a second use of the images would prevent: see `edge_adapt.export.embed.pixel_rows`."""
    assert "normalized_rows" in {
        output for node in onnx.load_from_string(graph(name)).graph.node for output in node.output
    }
