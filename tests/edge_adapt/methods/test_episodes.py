"""Meta-training episodes drawn on the device, and their augmentation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from edge_adapt.methods import episodes
from edge_adapt.methods.episodes import ImageSampler, fits, labels_of
from edge_adapt.runtime.data.dataset import ImageDataset


def numbered(counts: list[int]) -> ImageDataset:
    """Images of one pixel, which say their class and their number in it."""
    pixels = [(label, number) for label, count in enumerate(counts) for number in range(count)]
    images = np.array(pixels, np.uint8).reshape(-1, 1, 1, 2)
    starts = np.cumsum([0, *counts], dtype=np.int64)
    return ImageDataset("numbered", images, tuple(map(str, range(len(counts)))), starts)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_an_episode_has_different_classes_and_different_images_of_each(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(1, 12), min_size=2, max_size=9))
    n_way = data.draw(st.integers(2, len(counts)))
    per_class = data.draw(st.integers(1, min(counts)))
    seed = data.draw(st.integers(0, 2**63))
    sampler = ImageSampler(numbered(counts), torch.device("cpu"))
    drawn = sampler.draw_episodes(5, n_way, per_class, torch.Generator().manual_seed(seed))
    assert drawn.shape == (5, n_way, per_class, 1, 1, 2) and drawn.dtype == torch.uint8
    for episode in drawn.reshape(5, n_way, per_class, 2).tolist():
        classes = [{label for label, _ in of_class} for of_class in episode]
        assert all(len(labels) == 1 for labels in classes)
        assert len(set.union(*classes)) == n_way
        for of_class in episode:
            assert len({number for _, number in of_class}) == per_class
            assert all(number < counts[label] for label, number in of_class)
    again = sampler.draw_episodes(5, n_way, per_class, torch.Generator().manual_seed(seed))
    assert torch.equal(drawn, again)


def test_every_image_is_drawn_and_those_of_a_class_equally_often() -> None:
    counts = [3, 9, 5]
    sampler = ImageSampler(numbered(counts), torch.device("cpu"))
    drawn = sampler.draw_episodes(6000, 2, 3, torch.Generator().manual_seed(0)).reshape(-1, 2).tolist()
    for label, count in enumerate(counts):
        numbers = [number for found, number in drawn if found == label]
        expected = 6000 * 2 * 3 / 3 / count  # a class is in two episodes of three
        frequencies = np.bincount(numbers, minlength=count)
        assert len(frequencies) == count
        # Five standard deviations of a binomial count, so that the fixed seed is not a lucky one.
        assert np.abs(frequencies - expected).max() < 5 * expected**0.5


@pytest.mark.parametrize(("free", "room"), [(2000, True), (40, True), (39, False), (0, False)])
def test_a_gpu_holds_images_of_half_of_its_free_memory_and_a_cpu_any(
    monkeypatch: pytest.MonkeyPatch, free: int, room: bool
) -> None:
    data, gpu = numbered([7, 3]), torch.device("cuda", 1)  # 20 bytes
    monkeypatch.setattr(torch.cuda, "mem_get_info", {gpu: (free, 80_000)}.get)
    assert fits(data, gpu) == room
    assert fits(data, torch.device("cpu"))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_images_that_stay_where_they_are_are_drawn_all_the_same(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    data = numbered([4, 9, 6, 5])
    drawn = []
    for room in (True, False):
        monkeypatch.setattr(episodes, "fits", lambda *_, room=room: room)
        sampler = ImageSampler(data, torch.device(device))
        generator = torch.Generator(device).manual_seed(3)
        drawn.append([sampler.draw_episodes(7, 3, 4, generator), *sampler.draw_images(50, generator)])
    assert sampler.rows.data_ptr() == data.images.ctypes.data  # no copy, of which a mapped data set may be too large
    for held, sent in zip(*drawn, strict=True):
        assert sent.device.type == device and torch.equal(held, sent)


def test_labels_follow_the_layout_of_an_episode() -> None:
    assert labels_of(3, 2, torch.device("cpu")).tolist() == [0, 0, 1, 1, 2, 2]


def test_images_are_drawn_with_their_classes_each_as_often_as_any_other() -> None:
    sampler = ImageSampler(numbered([3, 1, 6]), torch.device("cpu"))
    images, labels = sampler.draw_images(6000, torch.Generator().manual_seed(0))
    shown = images.reshape(-1, 2).numpy()  # class and number in it
    assert labels.tolist() == shown[:, 0].tolist()
    frequencies = np.bincount(np.array([0, 3, 4])[shown[:, 0]] + shown[:, 1], minlength=10)
    assert np.abs(frequencies - 600).max() < 5 * 600**0.5
