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

import edge_adapt
from tests.command_line import complaint, forge, succeeded, tree, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY

CLASSIFIER_ENTRIES = (
    "manifest.json",
    "embed.onnx",
    "adapt.onnx",
    "predict.onnx",
    "classifier.json",
    "head/weight.npy",
    "head/bias.npy",
    "support/features.npy",
    "support/targets.npy",
)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", {"red": 2, "green": 2})


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good classifier, red or green."""
    folder = tmp_path_factory.mktemp("mine")
    photos = write_photos(folder / "photos", {"red": 2, "green": 2})
    images = {label.name: sorted(label.iterdir()) for label in photos.iterdir()}
    edge_adapt.load_model(TINY).adapt(images).save(folder / "mine.edge")
    return folder / "mine.edge"


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


def flip(path: Path, entry: str) -> None:
    """Flip a bit in the middle of an entry's bytes."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(entry)
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename.encode())
    data[start + info.file_size // 2] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("entry", CLASSIFIER_ENTRIES)
def test_a_flipped_byte_in_each_entry_is_found_by_info(mine: Path, tmp_path: Path, entry: str) -> None:
    path = tmp_path / "flipped.edge"
    path.write_bytes(mine.read_bytes())
    flip(path, entry)
    assert entry in complaint(command("info", path))


@pytest.mark.parametrize(
    "entry", sorted(set(CLASSIFIER_ENTRIES) - {"adapt.onnx", "support/features.npy", "support/targets.npy"})
)
def test_a_flipped_byte_in_what_classify_uses_is_found_by_classify(
    mine: Path, photos: Path, tmp_path: Path, entry: str
) -> None:
    path = tmp_path / "flipped.edge"
    path.write_bytes(mine.read_bytes())
    flip(path, entry)
    result = command("classify", path, photos)
    assert entry in complaint(result)
    assert result.stdout == ""


@pytest.mark.parametrize("part", [0, 1, 100, 0.3, 0.9, 0.999])
def test_a_bundle_cut_off(mine: Path, photos: Path, tmp_path: Path, part: float) -> None:
    data = mine.read_bytes()
    path = tmp_path / "cut.edge"
    path.write_bytes(data[: int(part * len(data)) if 0 < part < 1 else int(part)])
    assert str(path) in complaint(command("classify", path, photos))
    assert str(path) in complaint(command("info", path))


def test_a_bundle_of_another_version(photos: Path, tmp_path: Path) -> None:
    path = forge(
        TINY,
        tmp_path / "new.edge",
        "manifest.json",
        lambda data: data.replace(b'"format_version":1', b'"format_version":9'),
    )
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", path))
    assert "version 9" in sentence
    assert "update" in sentence


def chunk(field: int, *parts: bytes) -> bytes:
    """A length-delimited protobuf field, shorter than 128 bytes."""
    payload = b"".join(parts)
    return bytes([field << 3 | 2, len(payload)]) + payload


def with_external_data(_: bytes) -> bytes:
    """A ModelProto whose one tensor lies in another file, /etc/passwd."""
    location = chunk(13, chunk(1, b"location"), chunk(2, b"/etc/passwd"))
    tensor = b"\x08\x01\x10\x01" + chunk(8, b"w") + location + bytes([14 << 3, 1])
    node = chunk(1, chunk(1, b"w"), chunk(2, b"features"), chunk(4, b"Identity"))
    return b"\x08\x08" + chunk(7, node, chunk(5, tensor)) + chunk(8, chunk(1), b"\x10\x12")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (with_external_data, "embed.onnx"),
        (lambda data: data.replace(b"AveragePool", b"StringSplit"), "StringSplit"),
    ],
)
def test_a_graph_that_a_device_must_not_run(
    photos: Path, tmp_path: Path, change: Callable[[bytes], bytes], named: str
) -> None:
    path = forge(TINY, tmp_path / "hostile.edge", "embed.onnx", change)
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", path))
    assert "embed.onnx" in sentence
    assert named in sentence
    assert not (tmp_path / "mine.edge").exists()
    assert "embed.onnx" in complaint(command("info", path))


def test_a_graph_that_computes_something_else_fails_its_self_check(tmp_path: Path) -> None:
    """A well-formed graph with another number in it, and a SHA-256 that fits: only the golden vectors tell."""
    scale = np.array(255, np.float32).tobytes()
    path = forge(
        TINY,
        tmp_path / "other.edge",
        "embed.onnx",
        lambda data: data.replace(scale, np.array(250, np.float32).tobytes()),
    )
    assert "golden features" in complaint(command("info", path))


def test_a_classifier_where_a_model_is_needed_and_the_reverse(mine: Path, photos: Path, tmp_path: Path) -> None:
    sentence = complaint(command("adapt", photos, "-o", tmp_path / "mine.edge", "--model", mine))
    assert "adapted classifier" in sentence
    assert not (tmp_path / "mine.edge").exists()
    sentence = complaint(command("classify", TINY, photos))
    assert "meta-model" in sentence
    assert "edge-adapt adapt" in sentence


def test_a_folder_or_a_picture_where_a_bundle_is_needed(photos: Path) -> None:
    assert "folder" in complaint(command("classify", photos, photos))
    assert "not an edge-adapt bundle" in complaint(command("info", photos / "red" / "0.png"))


def test_a_nan_in_a_head(mine: Path, photos: Path, tmp_path: Path) -> None:
    def poison(data: bytes) -> bytes:
        return data[:-4] + np.array(np.nan, np.float32).tobytes()

    path = forge(mine, tmp_path / "nan.edge", "head/weight.npy", poison)
    assert "head/weight.npy" in complaint(command("classify", path, photos))


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
