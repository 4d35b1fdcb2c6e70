"""Lower precision: what is quantized and what stays, and that every implementation gives the same features."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper, parser
from torch import Tensor, nn
from torch.nn import functional

from edge_adapt.export.embed.from_torch import embed_graph
from edge_adapt.export.embed.quantization import quantize, store_as_float16
from edge_adapt.export.gates.precision import cosine
from edge_adapt.networks.learner import Embedding
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.reference import relative_difference

SIZE = 16


class Residual(nn.Module):
    """Convolutions, ReLUs and a residual addition, a power transform, centring and L2: the shape of a small backbone."""

    def __init__(self) -> None:
        super().__init__()
        widths = ((3, 8, 2), (8, 8, 1), (8, 8, 1), (8, 16, 2))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(inside, outside, 3, stride, 1), nn.BatchNorm2d(outside))
            for inside, outside, stride in widths
        )

    def forward(self, images: Tensor) -> Tensor:
        first, second, third, fourth = self.layers
        hidden = functional.relu(first(images))
        hidden = functional.relu(hidden + third(functional.relu(second(hidden))))
        pooled = functional.relu(fourth(hidden)).mean((2, 3))
        return functional.normalize((pooled + 1e-3) ** 0.5 - 0.4, dim=1)


def pooled() -> nn.Module:
    """A signed map that is pooled and then goes through a ReLU, as in conv4; a leaky ReLU before pooling, as in ResNet-12."""
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.MaxPool2d(2), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten()),
    )


def with_linear_layers() -> nn.Module:
    """A backbone of one's own, of operators that have no 8-bit form as well."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=4), nn.SiLU(), nn.Flatten(), nn.Linear(128, 24), nn.LayerNorm(24), nn.Linear(24, 12)
    )


BACKBONES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "residual": (Residual, 4),
    "pooled": (pooled, 3),
    "linear": (with_linear_layers, 3),
}
"""Each and how many layers with weights it has."""


def images(count: int, seed: int) -> NDArray[np.uint8]:
    """Coarse pictures, which differ as photos do."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (count, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    noisy = coarse + random.integers(-20, 21, (count, SIZE, SIZE, 3))
    clipped: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
    return clipped


@functools.cache
def graph(name: str) -> bytes:
    """In float32."""
    torch.manual_seed(0)
    module = Embedding(BACKBONES[name][0](), torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3]))
    with torch.no_grad():
        for seed in range(3):
            module.train()(torch.from_numpy(images(64, seed)))
    return embed_graph(module.eval(), Preprocessing(SIZE, SIZE, 3))


@functools.cache
def in_8_bits(name: str) -> bytes:
    return quantize(graph(name), images(64, 5))


def run(
    data: bytes, batch: NDArray[np.uint8], *, optimized: bool = True, save: Path | None = None
) -> NDArray[np.float32]:
    """Features, float32 [B, D]; `save` takes the graph as ONNX Runtime really runs it."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save:
        options.optimized_model_filepath = str(save)
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    features: NDArray[np.float32] = session.run(["features"], {"images": batch})[0]
    assert features.dtype == np.float32
    return features


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize(
    "name", ["residual", *(pytest.param(name, marks=pytest.mark.slow) for name in ("linear", "pooled"))]
)
def test_features_in_8_bits_point_where_those_in_float32_do(name: str) -> None:
    batch = images(40, 9)
    ours, theirs = run(in_8_bits(name), batch), run(graph(name), batch)
    assert ours.shape == theirs.shape
    assert cosine(ours, theirs).mean() > 0.99
    alone = np.concatenate([run(in_8_bits(name), image[None]) for image in batch[:5]])
    assert relative_difference(alone, ours[:5]) < 1e-6


@pytest.mark.parametrize("name", BACKBONES)
def test_layers_are_computed_in_8_bits_and_what_is_around_them_is_not(name: str, tmp_path: Path) -> None:
    model = onnx.load_from_string(in_8_bits(name))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    order = [node.op_type for node in model.graph.node]
    first, last = order.index("QuantizeLinear"), len(order) - 1 - order[::-1].index("DequantizeLinear")
    assert {"Sub", "Div"} <= set(order[:first])
    if name == "residual":
        assert {"ReduceMean", "Pow", "Sub", "Div"} <= set(order[last:])
    run(in_8_bits(name), images(1, 9), save=tmp_path / "optimized.onnx")
    really_run = operators(onnx.load(tmp_path / "optimized.onnx"))
    layers = really_run["QLinearConv"] + really_run["QGemm"] + really_run["QLinearMatMul"]
    assert layers == BACKBONES[name][1]
    assert really_run["Conv"] == really_run["FusedConv"] == really_run["Gemm"] == really_run["MatMul"] == 0
    if name in ("residual", "pooled"):
        assert (really_run["QLinearAdd"], really_run["Relu"]) == (int(name == "residual"), 0)
        assert really_run["QuantizeLinear"] == really_run["DequantizeLinear"] == 1


def test_nothing_is_stored_twice_and_names_take_no_room() -> None:
    graph = onnx.load_from_string(in_8_bits("residual")).graph
    stored = [
        (tensor.data_type, tuple(tensor.dims), numpy_helper.to_array(tensor).tobytes()) for tensor in graph.initializer
    ]
    assert len(set(stored)) == len(stored)
    outside = {item.name for item in (*graph.input, *graph.output)}
    assert outside == {"images", "features"}
    names = {tensor.name for tensor in graph.initializer} | {name for node in graph.node for name in node.output}
    assert all(len(name) <= 3 for name in names - outside)


@pytest.mark.parametrize("name", BACKBONES)
def test_no_processor_can_overflow(name: str) -> None:
    """Without VNNI two products of a uint8 and an int8 are added in 16 bits."""
    model = onnx.load_from_string(in_8_bits(name))
    weights = [
        tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert len(weights) == BACKBONES[name][1]
    for tensor in weights:
        largest = int(np.abs(numpy_helper.to_array(tensor).astype(np.int32)).max())
        assert 2 * 255 * largest < 2**15


@pytest.mark.parametrize("name", BACKBONES)
def test_another_implementation_gives_nearly_the_same(name: str) -> None:
    """Unfused, each layer is computed in float32 between two roundings."""
    batch = images(40, 9)
    fused, unfused = run(in_8_bits(name), batch), run(in_8_bits(name), batch, optimized=False)
    assert relative_difference(unfused, fused) < 0.02


@pytest.mark.parametrize("name", BACKBONES)
def test_half_the_size_in_float16_and_the_same_features(name: str) -> None:
    batch = images(40, 9)
    halved = store_as_float16(graph(name))
    types = Counter(tensor.data_type for tensor in onnx.load_from_string(halved).graph.initializer)
    assert types[onnx.TensorProto.FLOAT16] == BACKBONES[name][1]
    assert len(halved) < 0.75 * len(graph(name))
    assert relative_difference(run(halved, batch), run(graph(name), batch)) < 5e-3


def test_a_weight_that_float16_cannot_hold_is_named() -> None:
    model = onnx.load_from_string(graph("pooled"))
    weight = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1e6), weight.name))
    with pytest.raises(EdgeAdaptError, match=f"{weight.name} is beyond the range of float16"):
        store_as_float16(model.SerializeToString())


def test_a_graph_without_layers_cannot_be_quantized() -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
        embed (uint8[B, 16, 16, 3] images) => (float[B, 768] features) {
            pixels = Cast <to = 1> (images)
            features = Flatten(pixels)
        }""")
    with pytest.raises(EdgeAdaptError, match="no convolution or linear layer"):
        quantize(model.SerializeToString(), images(16, 0))
