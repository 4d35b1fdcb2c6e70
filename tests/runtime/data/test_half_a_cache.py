"""A cache that is not whole is none: builds that are interrupted, killed, without room, or of images that cannot be read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_adapt.runtime.data import pixel_cache as dataset_cache
from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.data.reading import Block, read_blocks
from edge_adapt.runtime.errors import EdgeAdaptError, ImageError
from tests.image_files import noise, refusal, write
from tests.runtime.data.test_pixel_cache import GRAY, built, only, same


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write(tmp_path / "photos", {f"{label}/{index}.png": noise(index) for label in "abc" for index in range(40)})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def test_an_interrupted_build_leaves_nothing(photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: Any) -> Iterator[Block]:
        yield next(read_blocks(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(dataset_cache, "read_blocks", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_dataset(photos, GRAY, cache=cache)
    assert not list(cache.iterdir())


def test_pixels_without_a_description_are_no_cache(
    photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built(photos, cache, capsys)
    described = only(cache).with_suffix(".json")
    described.unlink()
    data, said = built(photos, cache, capsys)
    same(data, load_dataset(photos, GRAY))
    assert "caching the pixels" in said and described.exists()


def test_two_builds_of_a_source_that_changes_between_them_do_not_mix(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, fast = read_blocks, []

    def overtaken(*arguments: Any) -> Iterator[Block]:
        blocks = list(slow(*arguments))
        monkeypatch.setattr(dataset_cache, "read_blocks", slow)
        write(photos, {"a/0.png": b""})
        fast.append(load_dataset(photos, GRAY, cache=cache, skip_bad=True))
        yield from blocks

    monkeypatch.setattr(dataset_cache, "read_blocks", overtaken)
    assert len(load_dataset(photos, GRAY, cache=cache).images) == 120
    same(fast[0], load_dataset(photos, GRAY, skip_bad=True))
    same(load_dataset(photos, GRAY, cache=cache, skip_bad=True), load_dataset(photos, GRAY, skip_bad=True))


def test_a_killed_build_leaves_nothing_that_is_taken_for_a_cache(
    photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"""
import os
from edge_adapt.runtime.data import pixel_cache as dataset_cache
from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.images.preprocessing import Preprocessing
from edge_adapt.runtime.data.reading import read_blocks

def killed(*arguments):
    yield next(read_blocks(*arguments))
    os.kill(os.getpid(), 9)

dataset_cache.read_blocks = killed
load_dataset({str(photos)!r}, Preprocessing(6, 6, 1), cache={str(cache)!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode != 0
    assert [path.suffix for path in cache.iterdir()] == [".tmp"]
    data, said = built(photos, cache, capsys)
    same(data, load_dataset(photos, GRAY))
    assert "caching the pixels" in said


@pytest.mark.parametrize("place", ["photos.txt", "photos.txt/below"])
def test_a_place_where_no_cache_can_be(place: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photos.txt").touch()
    message = refusal(lambda: load_dataset(photos, GRAY, cache=tmp_path / place), EdgeAdaptError)
    assert str(tmp_path / place) in message and "choose another place" in message


def test_a_cache_remembers_what_could_not_be_read(
    photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(photos, {"b/7.png": b"no image", "c/0.png": b""})
    for _ in range(2):
        message = refusal(lambda: load_dataset(photos, GRAY, cache=cache), ImageError)
        assert message.startswith(f"{photos}: 2 of 120 images cannot be read: {photos}/b/7.png is not an image")
        assert f"{photos}/c/0.png is empty" in message
        assert message.endswith("; repair or remove them, or pass --skip-bad.")
    data, said = built(photos, cache, capsys, skip_bad=True)
    assert "taking the pixels from the cache" in said and "skipping 2 of 120 images" in said and "reading" not in said
    same(data, load_dataset(photos, GRAY, skip_bad=True))
    turned, _ = built(photos, cache, capsys, skip_bad=True, rotations=True)
    same(turned, load_dataset(photos, GRAY, skip_bad=True, rotations=True))
    write(photos, {"b/7.png": noise(7), "c/0.png": noise(0)})
    data, said = built(photos, cache, capsys)
    assert "changed; caching" in said and len(data.images) == 120


def test_a_cache_of_bad_images_alone(tmp_path: Path, cache: Path) -> None:
    root = write(tmp_path / "photos", {"a/1.png": b"", "b/1.png": b""})
    message = refusal(lambda: load_dataset(root, GRAY, cache=cache, skip_bad=True), ImageError)
    assert "2 of 2 images cannot be read" in message
    assert message == refusal(lambda: load_dataset(root, GRAY, rotations=True, cache=cache, skip_bad=True), ImageError)
    assert message == refusal(lambda: load_dataset(root, GRAY, cache=cache, skip_bad=True), ImageError)
