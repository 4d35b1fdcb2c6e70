"""A classifier as one graph, against the runtime, whose answers it must give."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("onnx")

import onnxruntime

from edge_adapt import BundleError, Classifier, EdgeAdaptError, MetaModel, load_model
from edge_adapt.export.baked import bake, baked
from edge_adapt.runtime.bundle.bundle import Bundle, write_bundle
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.images.preprocessing import preprocess
from tests.conftest import TINY
from tests.metric_heads import HEADS
from tests.tiny_model import photos

SUPPORT, QUERIES = (Path(__file__).parents[2] / "samples" / "characters" / part for part in ("support", "query"))
COUNTS = {"a": 1, "b": 4, "c": 2}


@cache
def opened(graph: bytes) -> onnxruntime.InferenceSession:
    """As any program opens it."""
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])


def answers(graph: bytes, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """What the graph gives for images by the names of its outputs, with nothing but ONNX Runtime."""
    session = opened(graph)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"images": images}), strict=True))


def drawings(mine: Classifier) -> NDArray[np.uint8]:
    """The queries of the samples, as the model takes them."""
    return np.stack(
        [preprocess(Image.open(file), mine.manifest.preprocessing) for file in sorted(QUERIES.rglob("*.png"))]
    )


def assert_equal_answers(mine: Classifier, images: NDArray[np.uint8]) -> None:
    """The graph says of each image what the runtime says of it."""
    graph = baked(mine)
    for image in images:
        found = answers(graph, image[None])
        said = mine.classify_embedded(EmbeddedImage("", "", mine.graphs.embed(image[None])[0]))
        assert mine.labels[found["index"][0]] == said.label
        np.testing.assert_allclose(found["probabilities"][0], [said.scores[label] for label in mine.labels], atol=2e-5)
        assert ("familiarity" in found) == (said.familiarity is not None)
        if said.familiarity is not None:
            assert found["familiarity"][0] == pytest.approx(said.familiarity, abs=1e-4)


@pytest.fixture(scope="module")
def of_characters() -> Classifier:
    """The shipped model for drawings, adapted to the samples."""
    return load_model("characters", "cpu").adapt(
        {folder.name: sorted(folder.iterdir()) for folder in sorted(SUPPORT.iterdir())}
    )


def test_it_answers_as_the_runtime_does(of_characters: Classifier) -> None:
    assert of_characters.manifest.priors
    assert_equal_answers(of_characters, drawings(of_characters))


def test_images_side_by_side_do_not_matter_to_each_other(of_characters: Classifier) -> None:
    graph, images = baked(of_characters), drawings(of_characters)
    together = answers(graph, images)
    for number in range(0, len(images), 10):
        for name, alone in answers(graph, images[number : number + 1]).items():
            np.testing.assert_allclose(together[name][number], alone[0], atol=1e-4)


def test_photos_of_no_class_count_in_it_too(of_characters: Classifier) -> None:
    size = of_characters.manifest.preprocessing
    noise = np.random.default_rng(1).integers(0, 256, (4, size.height, size.width, 3)).astype(np.uint8)
    wary, images = of_characters.add("_other", list(noise)), drawings(of_characters)
    assert_equal_answers(wary, images)
    before, after = (answers(baked(mine), images)["familiarity"] for mine in (of_characters, wary))
    assert not np.allclose(before, after, atol=1e-3)


def test_one_shot_of_each_class_suffices(of_characters: Classifier) -> None:
    first = {label: next(iter(sorted((SUPPORT / label).iterdir()))) for label in of_characters.labels}
    mine = load_model("characters", "cpu").adapt({label: [file] for label, file in first.items()})
    assert_equal_answers(mine, drawings(mine))


@pytest.mark.parametrize("name", HEADS)
def test_every_head_can_be_baked(name: str, tmp_path: Path) -> None:
    tiny, head = Bundle.open(TINY), HEADS[name](48).graphs(48)
    graphs = {"embed.onnx": tiny.graph("embed.onnx"), "adapt.onnx": head.adapt, "predict.onnx": head.predict}
    manifest = replace(tiny.manifest, head_state=head.state, default_steps=0, golden=None)
    write_bundle(tmp_path / "other.edge", manifest, graphs)
    mine = load_model(tmp_path / "other.edge", "cpu").adapt(photos(COUNTS))
    assert_equal_answers(mine, np.stack([image for images in photos(COUNTS, seed=1).values() for image in images]))


def test_the_file_says_what_a_program_must_know(tiny: MetaModel, tmp_path: Path) -> None:
    mine = tiny.adapt(photos({"a": 2, "c": 1})).rename("a", "ä b")
    mine.save(tmp_path / "mine.edge")
    bake(tmp_path / "mine.edge", tmp_path / "mine.onnx", unknown_at=0.1, metadata=tmp_path / "mine.json")
    session = onnxruntime.InferenceSession(tmp_path / "mine.onnx", providers=["CPUExecutionProvider"])
    (images,) = session.get_inputs()
    assert images.name == "images" and images.type == "tensor(uint8)" and images.shape[1:] == [8, 8, 3]
    said = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert said["labels"] == ["c", "ä b"] and said["preprocessing"]["height"] == 8
    assert said["unknown_at"] == 0.1 and said["name"] == "tiny"
    assert json.loads((tmp_path / "mine.json").read_text("utf-8")) == said
    assert (tmp_path / "mine.onnx").read_bytes() == baked(mine, 0.1)


def test_what_cannot_be_baked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="meta-model that knows no classes yet"):
        bake(TINY, tmp_path / "mine.onnx")
    mine = load_model(TINY, "cpu").adapt(photos(COUNTS))
    with pytest.raises(EdgeAdaptError, match=r"unknown_at is 1; take a share from 0 to below 1\."):
        bake(mine, tmp_path / "mine.onnx", unknown_at=1)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def tiny() -> MetaModel:
    """The meta-model."""
    return load_model(TINY, "cpu")
