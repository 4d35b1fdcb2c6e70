"""An ONNX feature extractor of somebody's own as the graph `embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edge_adapt.export.embed.extractor import read_extractor
from edge_adapt.export.embed.from_extractor import (
    NORMALIZATIONS,
    OriginalExtractor,
    PixelNormalization,
    centred,
    check_features,
    embed_around,
    finished,
)
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.sessions import Session
from tests.extractors import (
    FEATURES,
    SIZE,
    extractor,
    in_half_precision,
    in_half_precision_inside,
    with_weights_as_inputs,
    with_weights_beside,
    with_weights_in_half,
)

IMAGES = np.random.default_rng(1).integers(0, 256, (5, SIZE, SIZE, 3)).astype(np.uint8)


def wrapped(path: Path, normalization: PixelNormalization | None = NORMALIZATIONS["imagenet"], **options: Any) -> bytes:
    """The finished graph, which has passed the check against the original."""
    read = read_extractor(path, **options)
    embed = finished(embed_around(read, normalization), read.path)
    check_features(read, OriginalExtractor(read, normalization, 1), embed)
    return embed


def features(embed: bytes, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = Session(embed, "embed", ("images",)).run({"images": images})[0]
    assert found.dtype == np.float32
    return found


def expected(
    path: Path, images: NDArray[np.uint8], mean: float | list[float], std: float | list[float]
) -> NDArray[Any]:
    """What the convolution and the average make of pixels, by a plain loop."""
    model = onnx.load(str(path))
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer}
    pixels = (images / 255 - np.array(mean)) / np.array(std)
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = []
    for image in padded:
        maps = [
            np.tensordot(weights["kernel"], image[y : y + 3, x : x + 3].transpose(2, 0, 1), axes=3) + weights["shift"]
            for y in range(0, SIZE, 2)
            for x in range(0, SIZE, 2)
        ]
        rows.append(np.maximum(maps, 0).mean(axis=0))
    return np.stack(rows)


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"channels_first": False},
        {"tail": "map"},
        {"batch": "1"},
        {"batch": "4"},
        {"batch": "1", "tail": "reshape"},
        {"opset": 11},
        {"opset": 20},
    ],
    ids=str,
)
def test_features_are_those_of_the_extractor(tmp_path: Path, kind: dict[str, Any]) -> None:
    path = extractor(tmp_path / "extractor.onnx", **kind)
    found = features(wrapped(path), IMAGES)
    np.testing.assert_allclose(found, expected(path, IMAGES, *IMAGENET), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "tolerance"), [(with_weights_beside, 1e-4), (with_weights_as_inputs, 1e-4), (in_half_precision, 1e-2)]
)
def test_files_of_other_kinds(tmp_path: Path, change: Any, tolerance: float) -> None:
    path = change(extractor(tmp_path / "extractor.onnx"))
    due = expected(path, IMAGES, *IMAGENET)
    np.testing.assert_allclose(features(wrapped(path), IMAGES), due, rtol=tolerance, atol=tolerance / 10)


@pytest.mark.parametrize(
    ("change", "half"),
    [
        (in_half_precision, True),
        (in_half_precision_inside, True),
        (with_weights_in_half, False),
        (with_weights_beside, False),
    ],
)
@pytest.mark.parametrize("opset", [11, 18])
def test_what_computes_in_float16_is_told_from_what_stores_weights_so(
    tmp_path: Path, change: Any, half: bool, opset: int
) -> None:
    path = extractor(tmp_path / "extractor.onnx", opset=opset)
    due = expected(path, IMAGES, *IMAGENET)
    assert read_extractor(change(path)).half == half
    np.testing.assert_allclose(features(wrapped(path), IMAGES), due, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "mean", "std"), [("unit", 0, 1), ("symmetric", 0.5, 0.5), ("none", 0, 1 / 255), ("imagenet", *IMAGENET)]
)
def test_normalizations(tmp_path: Path, name: str, mean: Any, std: Any) -> None:
    path = extractor(tmp_path / "extractor.onnx")
    found = features(wrapped(path, NORMALIZATIONS[name]), IMAGES)
    np.testing.assert_allclose(found, expected(path, IMAGES, mean, std), rtol=1e-4, atol=1e-3)


def test_uint8_pixels_go_in_as_they_are(tmp_path: Path) -> None:
    path = extractor(tmp_path / "extractor.onnx", uint8=True, channels_first=False)
    np.testing.assert_allclose(
        features(wrapped(path, None), IMAGES), expected(path, IMAGES, 0, 1), rtol=1e-4, atol=1e-5
    )


def test_grey_images_take_the_average_of_three_numbers(tmp_path: Path) -> None:
    path = extractor(tmp_path / "extractor.onnx", channels=1)
    mean, std = (float(np.mean(numbers)) for numbers in IMAGENET)
    found = features(wrapped(path), IMAGES[..., :1])
    np.testing.assert_allclose(found, expected(path, IMAGES[..., :1], mean, std), rtol=1e-4, atol=1e-5)


def test_an_open_image_size_is_chosen(tmp_path: Path) -> None:
    path = extractor(tmp_path / "extractor.onnx", size="S")
    assert read_extractor(path, image_size=SIZE).preprocessing == Preprocessing(SIZE, SIZE, 3)
    np.testing.assert_allclose(
        features(wrapped(path, image_size=SIZE), IMAGES), expected(path, IMAGES, *IMAGENET), rtol=1e-4, atol=1e-5
    )


def test_one_of_several_outputs_and_a_tensor_between(tmp_path: Path) -> None:
    path = extractor(tmp_path / "extractor.onnx", tail="two")
    due = expected(path, IMAGES, *IMAGENET)
    np.testing.assert_allclose(features(wrapped(path, output="features"), IMAGES), due, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features(wrapped(path, output="logits"), IMAGES), -due, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features(wrapped(path, output="active"), IMAGES), due, rtol=1e-4, atol=1e-5)


def test_centred_features_have_length_1(tmp_path: Path) -> None:
    read = read_extractor(extractor(tmp_path / "extractor.onnx"))
    graph = embed_around(read, NORMALIZATIONS["imagenet"])
    raw = features(finished(graph, read.path), IMAGES)
    found = features(finished(centred(graph, raw.mean(axis=0)), read.path), IMAGES)
    less = raw - raw.mean(axis=0)
    np.testing.assert_allclose(found, less / np.linalg.norm(less, axis=1, keepdims=True), rtol=1e-4, atol=1e-5)
    flat = features(finished(centred(graph, raw[0]), read.path), IMAGES[:1])
    assert np.isfinite(flat).all()


def refusal(path: Path, normalization: PixelNormalization | None = NORMALIZATIONS["imagenet"], **options: Any) -> str:
    """The one sentence with which this file is refused, without its name."""
    with pytest.raises(EdgeAdaptError) as raised:
        wrapped(path, normalization, **options)
    message = str(raised.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message.replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ({"tail": "labels"}, "FILE gives features as int64 [N, 1] where float features are needed"),
        ({"tail": "two"}, "FILE has 2 outputs (features, logits); name the one with the features with --output-name"),
        ({"tail": "tokens"}, "FILE gives features as float32 [2, 64, 6] for 2 images"),
        (
            {"tail": "token", "batch": "1"},
            "FILE is made for batches of 1 and cannot be freed from that; export it with a dynamic",
        ),
        ({"tail": "foreign"}, "FILE uses operators that a bundle's graphs may not (com.microsoft.FastGelu)"),
        (
            {"tail": "new", "opset": 20},
            "FILE uses operator set 20, which cannot be converted to 18 (No Previous Version of Gelu exists); export it",
        ),
        ({"tail": "unlisted"}, "FILE uses operators that a bundle's graphs may not (Bernoulli)"),
        ({"extra_input": True}, "FILE takes 2 inputs (image, more) where one is needed"),
        ({"channels": 4}, "in which neither the second nor the last dimension is 1 or 3 channels"),
        ({"size": "S"}, "FILE takes images of any size, [any, 3, any, any]; choose theirs with --image-size"),
    ],
    ids=str,
)
def test_what_is_refused(tmp_path: Path, kind: dict[str, Any], said: str) -> None:
    assert said in refusal(extractor(tmp_path / "extractor.onnx", **kind))


def test_files_that_are_no_extractor(tmp_path: Path) -> None:
    path = tmp_path / "extractor.onnx"
    assert refusal(path).startswith("FILE cannot be read")
    for content in (b"", b"no model", b"\x08\x08", bytes(1000)):
        path.write_bytes(content)
        assert refusal(path).startswith("FILE is not an ONNX model"), content
    with_weights_beside(extractor(path))
    Path(f"{path}.data").unlink()
    assert refusal(path).startswith("FILE keeps its weights in another file, which cannot be read")


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    path = extractor(tmp_path / "extractor.onnx")
    assert "whose size is fixed; leave out --image-size" in refusal(path, image_size=SIZE + 1)
    assert "FILE has no tensor 'nowhere'; its outputs are features" in refusal(path, output="nowhere")
    assert "the mean has 2 numbers; give 1 or 3" in refusal(path, PixelNormalization((0, 0), (1,)))
    assert "not finite with a std above 0" in refusal(path, PixelNormalization((0,), (0,)))


def test_features_that_are_not_finite(tmp_path: Path) -> None:
    path = extractor(tmp_path / "extractor.onnx")
    model = onnx.load(str(path))
    shift = next(tensor for tensor in model.graph.initializer if tensor.name == "shift")
    shift.CopyFrom(onnx.numpy_helper.from_array(np.full(FEATURES, np.inf, np.float32), "shift"))
    path.write_bytes(model.SerializeToString())
    assert "gives features that are not finite" in refusal(path)
