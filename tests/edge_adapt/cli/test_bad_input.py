"""Whatever is wrong with what the user gives ends in one sentence and leaves the user's files as they were."""

from __future__ import annotations

import errno
import io
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command_line import complaint, succeeded, tree, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", {"red": 2, "green": 2})


def heic() -> bytes:
    """The beginning of an iPhone's photo: an ISO base media file of brand heic."""
    return b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)


def truncated_jpeg() -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    return stream.getvalue()[:-800]


def missing(photos: Path) -> str:
    for path in sorted(photos.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    photos.rmdir()
    return "does not exist"


def empty(photos: Path) -> str:
    missing(photos)
    photos.mkdir()
    return "holds no images"


def one_class(photos: Path) -> str:
    for path in (photos / "green").iterdir():
        path.unlink()
    (photos / "green").rmdir()
    return "two classes or more"


def class_without_images(photos: Path) -> str:
    (photos / "blue").mkdir()
    return "blue"


def bad_image(name: str, data: bytes) -> Callable[[Path], str]:
    def put(photos: Path) -> str:
        (photos / "red" / name).write_bytes(data)
        return f"red/{name}"

    return put


def too_many_classes(photos: Path) -> str:
    data = (photos / "red" / "0.png").read_bytes()
    for index in range(200):
        (photos / f"{index}").mkdir()
        (photos / f"{index}" / "0.png").write_bytes(data)
    return "202 classes"


@pytest.mark.parametrize(
    ("spoil", "remedy"),
    [
        (missing, "check the spelling"),
        (empty, "sub-folder"),
        (one_class, "add images"),
        (class_without_images, "fill or remove"),
        (bad_image("text.jpg", b"this is no image"), ""),
        (bad_image("cut.jpg", truncated_jpeg()), ""),
        (bad_image("nothing.png", b""), "empty"),
        (bad_image("IMG_0001.HEIC", heic()), "HEIC"),
        (too_many_classes, "leave some out"),
    ],
)
@pytest.mark.parametrize("old", [None, b"an older file"])
def test_photos_that_cannot_be_used(
    photos: Path, tmp_path: Path, spoil: Callable[[Path], str], remedy: str, old: bytes | None
) -> None:
    if old is not None:
        (tmp_path / "mine.edge").write_bytes(old)
    named = spoil(photos)
    before = tree(tmp_path)
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", TINY))
    assert named in sentence
    assert remedy in sentence
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("text.jpg", b"no image"),
        ("cut.jpg", truncated_jpeg()),
        ("nothing.png", b""),
        ("IMG_0001.HEIC", heic()),
        ("nowhere.png", None),
    ],
)
@pytest.mark.parametrize("option", [[], ["--json"]])
def test_an_image_that_cannot_be_classified(
    mine: Path, tmp_path: Path, name: str, data: bytes | None, option: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    if data is not None:
        (tmp_path / name).write_bytes(data)
    result = command("classify", mine, tmp_path / name, *option)
    sentence = complaint(result)
    assert str(tmp_path / name) in sentence
    assert result.stdout == ""
    if name.endswith("HEIC"):
        assert "HEIC" in sentence
        assert "JPEG" in sentence  # what to do


@pytest.mark.parametrize("arguments", [["adapt", "-o", "x.edge"], ["evaluate", str(TINY)]])
def test_a_negative_number_of_steps(photos: Path, arguments: list[str]) -> None:
    assert "--steps" in complaint(command(*arguments, photos, "--steps", "-1"), status=2)


def test_more_ways_than_classes(photos: Path) -> None:
    sentence = complaint(command("evaluate", TINY, photos, "--way", "3"))
    assert "3 ways" in sentence
    assert "--way" in sentence


def test_a_list_of_classes_that_names_none_of_them_or_cannot_be_read(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("red\npurple\n", encoding="utf-8")
    assert "purple" in complaint(command("evaluate", TINY, photos, "--classes", tmp_path / "list.txt"))
    assert "no.txt" in complaint(command("evaluate", TINY, photos, "--classes", tmp_path / "no.txt"))


def test_a_full_disk_while_saving(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", TINY))
    before = tree(tmp_path)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", TINY, "--steps", "9"))
    assert str(tmp_path / "mine.edge") in sentence
    assert "disk is full" in sentence
    assert tree(tmp_path) == before


@pytest.mark.parametrize("output", ["nowhere/mine.edge", "photos"])
def test_a_place_where_nothing_can_be_saved(photos: Path, tmp_path: Path, output: str) -> None:
    before = tree(tmp_path)
    assert str(tmp_path / output) in complaint(command("adapt", photos, "-o", tmp_path / output, "--model", TINY))
    assert tree(tmp_path) == before


@pytest.mark.parametrize("lost", ["photos.zip", "model.edge"])
def test_what_a_classifier_is_made_from_is_not_replaced_by_it(photos: Path, tmp_path: Path, lost: str) -> None:
    model, archive = tmp_path / "model.edge", tmp_path / "photos.zip"
    model.write_bytes(TINY.read_bytes())
    with zipfile.ZipFile(archive, "w") as opened:
        for name, data in tree(photos).items():
            opened.writestr(name, data)
    (tmp_path / "link").symlink_to(tmp_path / lost)
    before = tree(tmp_path)
    for output in (tmp_path / lost, tmp_path / "link"):
        assert "would be lost" in complaint(command("adapt", archive, "-o", output, "--model", model))
    assert tree(tmp_path) == before


def test_a_photo_is_not_replaced_by_the_classifier_but_an_earlier_classifier_is(photos: Path) -> None:
    before = tree(photos)
    said = complaint(command("adapt", photos, "-o", photos / "red" / "0.png", "--model", TINY))
    assert f"0.png lies in {photos}, which is to be read, and would be lost" in said
    assert tree(photos) == before
    for steps in ("1", "2"):
        succeeded(command("adapt", photos, "-o", photos / "mine.edge", "--model", TINY, "--steps", steps))


def test_photos_where_a_run_or_a_bundle_is_needed(photos: Path) -> None:
    assert "give a bundle" in complaint(command("evaluate", photos, TINY))


@pytest.mark.parametrize(
    ("option", "status"), [("--steps=100000000000000000000", 1), ("--threads=100000000000000000000", 2)]
)
def test_a_number_beyond_all_bounds(mine: Path, photos: Path, tmp_path: Path, option: str, status: int) -> None:
    complaint(command("adapt", photos, "-o", tmp_path / "x.edge", "--model", TINY, option), status)
    assert not (tmp_path / "x.edge").exists()
    if status == 1:
        complaint(command("evaluate", TINY, photos, "--way=2", option))


def test_pillow_does_not_warn_beside_the_error(mine: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    (tmp_path / "x.tif").write_bytes(b"II*\0\x08\0\0\0\0\0")
    assert "cannot be decoded" in complaint(command("classify", mine, tmp_path / "x.tif"))
    assert not recwarn.list


def test_an_error_of_the_system_is_a_sentence_too(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file" in complaint(command("demo", "--output", tmp_path / "file" / "demo"))


@pytest.mark.parametrize("arguments", [["classify"], ["classify", "a.edge"], ["adapt", "photos"], ["fly"], ["info"]])
def test_wrong_usage(arguments: list[str]) -> None:
    complaint(command(*arguments), status=2)


def test_cuda_that_does_not_come_up_is_an_error(mine: Path, photos: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA may come up here")
    said = complaint(command("classify", mine, photos, "--provider", "cuda"))
    assert said.startswith("the provider cuda is not in the ONNX Runtime installed here, which has cpu")
