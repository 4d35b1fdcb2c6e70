"""Folders and zips that cannot be used, and what is said of them."""

from __future__ import annotations

import os
import struct
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_adapt.runtime.errors import DataError, ImageError
from edge_adapt.runtime.images.folders import open_folder
from edge_adapt.runtime.images.tree import MAX_DEPTH
from tests.image_folders import both_kinds, contents, refusal, write, write_folder, write_zip


def patch_entry(path: Path, field: str, value: int) -> None:
    """Overwrites a field of the only entry of a zip, in its local header and in the directory."""
    offset, layout = {"flags": (6, "<H"), "method": (8, "<H"), "size": (22, "<I")}[field]
    data = bytearray(path.read_bytes())
    for start in (data.index(b"PK\3\4") + offset, data.index(b"PK\1\2") + offset + 2):
        struct.pack_into(layout, data, start, value)
    path.write_bytes(data)


def test_nothing_there(tmp_path: Path) -> None:
    for name in ("missing", "missing.zip"):
        assert "does not exist" in refusal(tmp_path / name)


def test_neither_folder_nor_zip(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"x")
    assert "neither a folder nor a .zip" in refusal(path)
    assert "does not exist" in refusal(path / "below a file")


def test_a_path_that_cannot_be() -> None:
    with pytest.raises(DataError, match="cannot be read"):
        open_folder("a\0b")


@both_kinds
def test_no_images(tmp_path: Path, kind: str) -> None:
    assert "holds no images" in refusal(write(tmp_path, {}, kind))
    assert "holds no images" in refusal(write(tmp_path, {"README.txt": b"", ".DS_Store": b""}, kind))


@both_kinds
def test_images_in_the_root(tmp_path: Path, kind: str) -> None:
    message = refusal(write(tmp_path, {"IMG_1.jpg": b"1", "cat/1.png": b"2"}, kind))
    assert "IMG_1.jpg" in message and "sub-folder" in message


@both_kinds
@pytest.mark.parametrize("nothing", ["dog/", "dog/notes.txt", "dog/.DS_Store", "dog/1.gif.part"])
def test_a_class_folder_without_images(tmp_path: Path, kind: str, nothing: str) -> None:
    message = refusal(write(tmp_path, {"cat/1.png": b"1", nothing: b""}, kind))
    assert "class folder without images, dog" in message


@both_kinds
def test_folders_that_are_nested_too_deep(tmp_path: Path, kind: str) -> None:
    deepest = {f"{'a/' * (MAX_DEPTH - 1)}{label}/1.png": b"1" for label in "bc"}
    assert len(open_folder(write(tmp_path / "deep", deepest, kind)).classes) == 2
    deeper = {f"{'a/' * MAX_DEPTH}{label}/1.png": b"1" for label in "bc"}
    assert f"nested deeper than {MAX_DEPTH}" in refusal(write(tmp_path / "deeper", deeper, kind))


def test_a_zip_of_one_empty_class_folder(tmp_path: Path) -> None:
    assert "class folder without images, cat" in refusal(write_zip(tmp_path / "photos.zip", {"cat/": b""}))


@both_kinds
def test_folders_that_differ_only_in_unicode_form(tmp_path: Path, kind: str) -> None:
    message = refusal(write(tmp_path, {"Caf\xe9/1.png": b"1", "Cafe\u0301/1.png": b"2"}, kind))
    assert "two folders Caf\xe9" in message


def test_a_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", denied)  # root, who runs many a test, is denied nothing
    assert "cannot be listed (Permission denied)" in refusal(tmp_path)


def test_a_zip_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(zipfile, "ZipFile", denied)
    path = tmp_path / "photos.zip"
    path.touch()
    assert "cannot be read (Permission denied)" in refusal(path)


def test_a_file_that_goes_away(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {"cat/1.png": b"1"})
    (file,) = open_folder(root).classes["cat"]
    (root / "cat" / "1.png").unlink()
    with pytest.raises(ImageError, match=r"1\.png does not exist"):
        file.read()


def test_a_zip_that_is_none_or_cut_short(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a/1.png": bytes(100), "b/1.png": bytes(100)})
    whole = path.read_bytes()
    for data in (b"", b"Buy milk.", whole[: len(whole) // 2], whole[:-4]):
        path.write_bytes(data)
        assert "cut short or damaged" in refusal(path)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_damaged_zip_never_gives_other_images(flips: list[tuple[float, int]]) -> None:
    tree = {"a/1.png": b"first" * 30, "b/1.png": b"second" * 30}
    with tempfile.TemporaryDirectory() as temporary:
        path = write_zip(Path(temporary) / "photos.zip", tree, zipfile.ZIP_DEFLATED)
        data = bytearray(path.read_bytes())
        for position, flip in flips:
            data[int(position * (len(data) - 1))] ^= flip
        path.write_bytes(data)
        try:
            read = [content for files in contents(open_folder(path)).values() for content in files.values()]
        except (DataError, ImageError) as error:
            assert str(path) in str(error)
            return
    assert set(read) <= set(tree.values())  # under a damaged name, or with an entry gone


def test_an_encrypted_zip(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": b"secret"})
    patch_entry(path, "flags", 1)
    assert "encrypted" in refusal(path) and "cat/1.png" in refusal(path)


def test_an_unusual_compression(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": b"x"}, zipfile.ZIP_BZIP2)
    assert "cat/1.png" in refusal(path) and "compression" in refusal(path)
    patch_entry(path, "method", 97)
    assert "method 97" in refusal(path)


def test_an_entry_too_large(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": b"x"})
    patch_entry(path, "size", 600 << 20)
    assert "cat/1.png" in refusal(path) and "128 MiB" in refusal(path)


def test_an_entry_that_was_damaged(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": b"content", "dog/1.png": b"woof"})
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
    folder = open_folder(path)
    assert folder.classes["dog"][0].read() == b"woof"
    with pytest.raises(ImageError, match=r"cat/1\.png, which is damaged") as caught:
        folder.classes["cat"][0].read()
    assert str(path) in str(caught.value)


def test_an_entry_that_lies_about_its_size(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    patch_entry(path, "size", 10)
    with pytest.raises(ImageError, match="which is damaged"):
        open_folder(path).classes["cat"][0].read()


def test_an_entry_that_unpacks_to_far_more_than_it_is(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": bytes(20 << 20)}, zipfile.ZIP_DEFLATED)
    assert "cat/1.png" in refusal(path) and "unpack to 21.0 MB" in refusal(path)


def test_more_folders_in_folders_than_are_read(tmp_path: Path) -> None:
    names = (f"{'/'.join([f'{number:05}', *'a' * 96])}/1.png" for number in range(3000))
    assert "more folders in folders" in refusal(write_zip(tmp_path / "photos.zip", dict.fromkeys(names, b"")))


def test_links_that_double_are_each_followed_once(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {f"{depth}/1.png": b"x" for depth in range(30)})
    for depth in range(29):
        for name in ("left", "right"):
            (root / f"{depth}" / name).symlink_to(root / f"{depth + 1}")
    assert list(open_folder(root).classes) == sorted(map(str, range(30)))


def test_a_link_to_itself_is_passed_over(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {"cat/1.png": b"x"})
    for name in ("cat/loop", "loop"):
        (root / name).symlink_to(root / name)
    assert list(open_folder(root).classes) == ["cat"]


def test_a_folder_goes_by_its_own_name_and_not_by_a_link_to_it(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {"zebra/1.png": b"x"})
    (root / "a link").symlink_to(root / "zebra")
    assert list(open_folder(root).classes) == ["zebra"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["photos", "photos.zip"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    assert "is a device or a pipe" in refusal(tmp_path / name)
