"""Pixels mapped from a cache: those that reading gives, built once, and built anew when it must be."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.data import dataset as dataset_module
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.data.pixel_cache import default_cache
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.image_files import noise, refusal, write

GRAY = Preprocessing(6, 6, 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write(tmp_path / "photos", {f"{label}/{index}.png": noise(index) for label in "abc" for index in range(40)})


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def only(folder: Path) -> Path:
    """The pixels of the only cache, whose description lies beside them."""
    path, described = sorted(folder.iterdir(), reverse=True)
    assert (path.suffix, described) == (".npy", path.with_suffix(".json"))
    return path


def same(one: ImageDataset, other: ImageDataset) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.starts, other.starts)
    assert (one.source, one.class_names, one.files, one.skipped) == (
        other.source, other.class_names, other.files, other.skipped,
    )  # fmt: skip


def built(root: Path, cache: Path, capsys: pytest.CaptureFixture[str], **options: bool) -> tuple[ImageDataset, str]:
    """A data set through the cache, and what was said."""
    data = load_dataset(root, GRAY, progress=True, cache=cache, **options)  # type: ignore[arg-type]
    assert isinstance(data.images, np.memmap)
    return data, capsys.readouterr().err


def test_a_cache_gives_what_reading_gives_and_is_built_once(
    photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = load_dataset(photos, GRAY)
    data, said = built(photos, cache, capsys)
    same(data, plain)
    np.testing.assert_array_equal(np.load(only(cache)), plain.images)
    assert f"{photos}: caching the pixels, 0.0 MB, in {only(cache)}\n" in said
    written = only(cache).stat()
    data, said = built(photos, cache, capsys)
    same(data, plain)
    assert said == f"{photos}: taking the pixels from the cache {only(cache)}\n"
    assert only(cache).stat().st_mtime_ns == written.st_mtime_ns


def test_rotations_lie_in_the_cache(photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, _ = built(photos, cache, capsys, rotations=True)
    same(data, load_dataset(photos, GRAY, rotations=True))


def test_changes_to_the_pixels_stay_out_of_the_cache(photos: Path, cache: Path) -> None:
    data = load_dataset(photos, GRAY, cache=cache)
    data.images[:] = 0
    same(load_dataset(photos, GRAY, cache=cache), load_dataset(photos, GRAY))


def test_size_colours_rotations_classes_and_sources_have_caches_of_their_own(
    photos: Path, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "some.txt").write_text("a\nb\n")
    (tmp_path / "same.txt").write_text("b\na\n")
    other = write(tmp_path / "other" / "photos", {"a/1.png": noise(0)})
    for _ in range(2):
        load_dataset(photos, GRAY, cache=cache)
        load_dataset(photos, Preprocessing(6, 5, 1), cache=cache)
        load_dataset(photos, Preprocessing(6, 6, 3), cache=cache)
        load_dataset(photos, GRAY, rotations=True, cache=cache)
        load_dataset(other, GRAY, cache=cache)
        for listing in ("some.txt", "same.txt"):
            data = load_dataset(photos, GRAY, [tmp_path / listing], cache=cache)
            assert data.class_names == ("a", "b")
    assert len(list(cache.glob("photos-*.npy"))) == len(list(cache.glob("photos-*.json"))) == 6


def test_large_data_sets_are_cached_and_small_ones_are_not(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert default_cache() == tmp_path / "home" / "edge-adapt"
    assert not isinstance(load_dataset(photos, GRAY).images, np.memmap)
    monkeypatch.setattr(dataset_module, "IN_MEMORY", 4 * 120 * 36 - 1)
    assert not isinstance(load_dataset(photos, GRAY).images, np.memmap)
    assert not (tmp_path / "home").exists()
    assert isinstance(load_dataset(photos, GRAY, rotations=True).images, np.memmap)
    assert only(default_cache()).stat().st_size > 4 * 120 * 36


@pytest.mark.parametrize("home", ["", "relative"])
def test_without_an_absolute_xdg_folder_caches_lie_below_home(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert default_cache() == tmp_path / ".cache" / "edge-adapt"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    assert "name a folder with --cache" in refusal(default_cache, EdgeAdaptError)


# When it must be built anew


def touch(photos: Path) -> None:
    path = photos / "a" / "1.png"
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def replace(photos: Path) -> None:
    write(photos, {"a/1.png": noise(99)})


def add(photos: Path) -> None:
    write(photos, {"a/new.png": noise(99)})


def add_class(photos: Path) -> None:
    write(photos, {"d/new.png": noise(99)})


def remove(photos: Path) -> None:
    (photos / "a" / "1.png").unlink()


def rename(photos: Path) -> None:
    (photos / "a" / "1.png").rename(photos / "a" / "z.png")


@pytest.mark.parametrize("change", [touch, replace, add, add_class, remove, rename])
def test_a_cache_whose_source_changed_is_built_anew(
    change: Callable[[Path], None], photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built(photos, cache, capsys)
    change(photos)
    data, said = built(photos, cache, capsys)
    same(data, load_dataset(photos, GRAY))
    assert said.startswith(f"the cache in {cache} was made before {photos} changed; caching the pixels")
    assert "taking the pixels" in built(photos, cache, capsys)[1]


def test_a_zip_that_is_written_again_has_changed(
    photos: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "photos.zip"

    def pack() -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(photos.rglob("*.png")):
                archive.write(file, file.relative_to(photos))

    pack()
    data, _ = built(path, cache, capsys)
    np.testing.assert_array_equal(data.images, load_dataset(photos, GRAY).images)
    replace(photos)
    pack()
    os.utime(path, (1, 1))  # on a coarse clock both would have been written at once
    data, said = built(path, cache, capsys)
    assert "changed; caching" in said
    np.testing.assert_array_equal(data.images, load_dataset(photos, GRAY).images)


@pytest.mark.parametrize("keep", [0, 1, 127, 128, 2000, -1])
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_a_cache_cut_short_is_named_and_built_anew(
    suffix: str, keep: int, photos: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built(photos, cache, capsys)
    path = only(cache).with_suffix(suffix)
    whole = path.read_bytes()
    path.write_bytes(whole[: min(keep, len(whole) - 1)])
    data, said = built(photos, cache, capsys)
    same(data, load_dataset(photos, GRAY))
    assert said.startswith(f"the cache {only(cache)} is damaged (") and "building it anew\n" in said


@settings(max_examples=40, deadline=None)
@given(position=st.integers(0), flip=st.integers(1, 255))
@example(position=8, flip=2)  # a header that is said to be two bytes shorter
@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_damage_beside_the_pixels_is_found(
    suffix: str, position: int, flip: int, module_cache: tuple[Path, Path, dict[str, bytes]]
) -> None:
    photos, cache, whole = module_cache
    damaged = bytearray(whole[suffix])
    described = len(damaged) - 2 * 36 if suffix == ".npy" else len(damaged)
    damaged[position % described] ^= flip
    only(cache).with_suffix(suffix).write_bytes(damaged)
    same(load_dataset(photos, GRAY, cache=cache, skip_bad=True), load_dataset(photos, GRAY, skip_bad=True))


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, bytes]]:
    """A folder of three images, one of them damaged, its cache and what is in it."""
    folder = tmp_path_factory.mktemp("module")
    photos = write(folder / "photos", {"a/1.png": noise(0), "b/1.png": b"", "c/1.png": noise(0)})
    load_dataset(photos, GRAY, cache=folder / "cache", skip_bad=True)
    return photos, folder / "cache", {path.suffix: path.read_bytes() for path in (folder / "cache").iterdir()}
