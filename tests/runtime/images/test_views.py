"""Support images are looked at more than once where the manifest says so, and queries never."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_adapt.runtime.data.dataset import ImageDataset
from edge_adapt.runtime.data.episodes import EvaluationProtocol
from edge_adapt.runtime.evaluation import embed_dataset, evaluate_episodes
from edge_adapt.runtime.images.images import named
from edge_adapt.runtime.images.views import PHOTO_VIEWS, View, look, shot_features
from edge_adapt.runtime.model import load_model
from tests.data import make_tiny
from tests.tiny_model import photos, variant

VIEWS = (View(mirrored=True), View(0.5))


def enlarged(image: NDArray[np.uint8], part: float) -> NDArray[np.float64]:
    """The central part of [H, W, C] at full size by bilinear interpolation between the centres of pixels."""

    def weights(side: int) -> NDArray[np.float64]:
        centres = side * (1 - part) / 2 + (np.arange(side) + 0.5) * part
        near = np.clip(1 - np.abs(np.arange(side) + 0.5 - centres[:, None]), 0, None)
        shares: NDArray[np.float64] = near / near.sum(axis=1, keepdims=True)
        return shares

    height, width = image.shape[:2]
    seen: NDArray[np.float64] = np.einsum("yh,xw,hwc->yxc", weights(height), weights(width), image.astype(np.float64))
    return seen


@given(
    part=st.floats(0.1, 0.999),
    mirrored=st.booleans(),
    shape=st.tuples(st.integers(1, 3), st.integers(2, 12), st.integers(2, 12), st.sampled_from([1, 3])),
    seed=st.integers(0, 100),
)
def test_a_view_is_the_central_part_at_full_size_mirrored_or_not(
    part: float, mirrored: bool, shape: tuple[int, int, int, int], seed: int
) -> None:
    images = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    seen = look(images, View(part, mirrored))
    assert seen.shape == images.shape and seen.dtype == np.uint8 and seen.flags.c_contiguous
    expected = np.stack([enlarged(image, part) for image in images])
    # Pillow rounds between its two passes, and its weights to 22 bits.
    np.testing.assert_allclose(seen, expected[:, :, ::-1] if mirrored else expected, atol=1.51)


def test_the_whole_image_is_mirrored_to_the_bit() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 3)).astype(np.uint8)
    np.testing.assert_array_equal(look(images, View(mirrored=True)), images[:, :, ::-1])
    np.testing.assert_array_equal(look(images, View()), images)


def test_a_shot_is_the_mean_over_its_views() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    each = [make_tiny.embed(images), make_tiny.embed(images[:, :, ::-1]), make_tiny.embed(look(images, View(0.5)))]
    np.testing.assert_allclose(shot_features(make_tiny.embed, images, VIEWS), np.mean(each, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(shot_features(make_tiny.embed, images, ()), make_tiny.embed(images))


@pytest.mark.parametrize("views", [(), VIEWS, PHOTO_VIEWS])
def test_a_device_takes_the_views_of_shots_and_queries_as_they_are(views: tuple[View, ...], tmp_path: Path) -> None:
    model = load_model(variant(tmp_path / "a.edge", support_views=views), "cpu")
    assert model.manifest.support_views == views
    images = photos({"a": 2, "b": 3})
    adapted = model.adapt(images).adaptation
    for label, of_label in enumerate(images.values()):
        expected = shot_features(make_tiny.embed, np.stack(of_label), views)
        ours = adapted.support_features[adapted.support_targets == label]
        order = [np.abs(ours - row).max(axis=1).argmin() for row in expected]
        np.testing.assert_allclose(ours[order], expected, rtol=1e-5, atol=1e-6)
    query = images["b"][0]
    np.testing.assert_allclose(
        model.graphs.embed_image(named(query)).features, make_tiny.embed(query[None])[0], rtol=1e-6, atol=1e-7
    )


def test_an_evaluation_sees_shots_and_queries_as_a_device_does(tmp_path: Path) -> None:
    graphs = load_model(variant(tmp_path / "a.edge", support_views=VIEWS), "cpu").graphs
    per_class = photos(dict.fromkeys("abcd", 6), noise=80)
    images = np.concatenate([np.stack(of_label) for of_label in per_class.values()])
    data = ImageDataset("photos", images, tuple(per_class), np.arange(5) * 6)
    features = embed_dataset(graphs, data, VIEWS)
    np.testing.assert_allclose(features.queries, make_tiny.embed(images), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(features.shots, shot_features(make_tiny.embed, images, VIEWS), rtol=1e-5, atol=1e-6)
    protocol = EvaluationProtocol(n_way=4, n_query=5, episodes=40, steps=2)
    ours = evaluate_episodes(graphs, data, protocol, views=VIEWS)
    assert ours == evaluate_episodes(graphs, data, protocol, features=features)
    assert ours != evaluate_episodes(graphs, data, protocol)
