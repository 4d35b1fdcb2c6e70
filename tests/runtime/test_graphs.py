"""Embedding many images: the same features on any number of threads, and errors that name the file."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_adapt.runtime import graphs as graphs_module
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.images.images import named
from edge_adapt.runtime.model import load_model
from edge_adapt.runtime.sessions import Provider, Session
from tests.conftest import TINY
from tests.encoded_images import encode, random_pixels


def of(image: EmbeddedImage | ImageError) -> EmbeddedImage:
    assert isinstance(image, EmbeddedImage)
    return image


def embedded(threads: int | None, images: list[bytes]) -> list[bytes]:
    graphs = load_model(TINY, "cpu", threads).graphs
    return [of(image).features.tobytes() for image in graphs.embed_all(map(named, images))]


def test_features_depend_on_nothing_but_the_image() -> None:
    images = [encode(Image.fromarray(random_pixels((9, 8, 3), seed)), "PNG") for seed in range(40)]
    expected = embedded(1, images)
    assert len(set(expected)) == 40
    for threads in (2, 5, None):
        assert embedded(threads, images) == expected
        assert embedded(threads, images[::-1]) == expected[::-1]
        assert embedded(threads, images[:7]) == expected[:7]
    assert embedded(None, images[3:4]) == expected[3:4]
    assert embedded(None, []) == []


@pytest.mark.parametrize(("threads", "count"), [(4, 1), (4, 0), (1, 5)])
def test_one_image_or_one_thread_starts_no_other(threads: int, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = load_model(TINY, "cpu", threads).graphs
    monkeypatch.setattr(threading.Thread, "start", lambda _: pytest.fail("a thread was started"))
    assert len(list(graphs.embed_all([named(random_pixels((8, 8, 3)))] * count))) == count


@pytest.mark.parametrize("threads", [1, 3])
def test_in_place_of_a_file_that_cannot_be_read_is_the_error(threads: int, tmp_path: Path) -> None:
    paths: list[Path] = []
    for index in range(20):
        path = tmp_path / f"{index:02d}.png"
        path.write_bytes(b"no image" if index in (11, 13) else encode(Image.new("L", (9, 9)), "PNG"))
        paths.append(path)
    results = list(load_model(TINY, "cpu", threads).graphs.embed_all(map(named, paths)))
    for index, (source, result) in enumerate(zip(paths, results, strict=True)):
        if index in (11, 13):
            assert isinstance(result, ImageError) and str(result).startswith(f"{source} is not an image")
        else:
            assert of(result).name == str(source)


def test_a_picture_opened_once_may_be_given_many_times() -> None:
    graphs = load_model(TINY, "cpu", 4).graphs
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(random_pixels((64, 48, 3))), "JPEG", exif=exif)
    expected = graphs.embed_image(named(Image.open(io.BytesIO(data))))
    opened = Image.open(io.BytesIO(data))  # its pixels and its EXIF data are read when they are first needed
    for image in map(of, graphs.embed_all([named(opened)] * 16)):
        assert image.sha256 == expected.sha256
        np.testing.assert_array_equal(image.features, expected.features)


def test_whatever_runs_embed_the_head_stays_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Provider] = {}

    class Spy(Session):
        def __init__(
            self, graph: bytes, name: str, inputs: Sequence[str], provider: Provider, threads: int | None
        ) -> None:
            asked[name.split(": ")[1]] = provider
            super().__init__(graph, name, inputs, "cpu", threads)

    monkeypatch.setattr(graphs_module, "Session", Spy)
    model = load_model(TINY, "openvino")
    model.adapt({"a": [random_pixels((8, 8, 3))], "b": [random_pixels((8, 8, 3), 1)]}).classify(
        random_pixels((8, 8, 3))
    )
    assert asked == {"embed.onnx": "openvino", "adapt.onnx": "cpu", "predict.onnx": "cpu"}
