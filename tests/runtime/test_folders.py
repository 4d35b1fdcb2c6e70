"""Folders and zips of labelled images."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime.errors import DataError, ImageError
from edge_adapt.runtime.folders import MAX_DEPTH, ImageFolder, list_images, open_folder, select_classes
from edge_adapt.runtime.images import load_image

Tree = Mapping[str, bytes]  # path below the root -> content; a path that ends with "/" is an empty folder


def write_folder(root: Path, tree: Tree) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name, content in tree.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def write_zip(path: Path, tree: Tree, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return path


def write(path: Path, tree: Tree, kind: str) -> Path:
    path.mkdir(exist_ok=True)
    return write_zip(path / "photos.zip", tree) if kind == "zip" else write_folder(path / "photos", tree)


def patch_entry(path: Path, field: str, value: int) -> None:
    """Overwrites a field of the only entry of a zip, in its local header and in the directory."""
    offset, layout = {"flags": (6, "<H"), "method": (8, "<H"), "size": (22, "<I")}[field]
    data = bytearray(path.read_bytes())
    for start in (data.index(b"PK\3\4") + offset, data.index(b"PK\1\2") + offset + 2):
        struct.pack_into(layout, data, start, value)
    path.write_bytes(data)


def contents(folder: ImageFolder) -> dict[str, dict[str, bytes]]:
    return {label: {file.name: file.read() for file in files} for label, files in folder.classes.items()}


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_folder(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


both_kinds = pytest.mark.parametrize("kind", ["folder", "zip"])


# What counts


@both_kinds
def test_classes_and_files_are_sorted_and_named_by_path(tmp_path: Path, kind: str) -> None:
    tree = {"b/2.png": b"b2", "b/10.jpg": b"b10", "a/y/1.png": b"ay1", "a/x/1.png": b"ax1", "a/z.png": b"az"}
    folder = open_folder(write(tmp_path, tree, kind))
    assert list(folder.classes) == ["a", "a/x", "a/y", "b"]
    assert [file.name for file in folder.classes["b"]] == ["b/10.jpg", "b/2.png"]
    assert contents(folder)["a/x"] == {"a/x/1.png": b"ax1"}
    assert folder.path.parent == tmp_path


@both_kinds
def test_what_systems_leave_lying_about_is_passed_over(tmp_path: Path, kind: str) -> None:
    junk = [".DS_Store", "a/.DS_Store", "a/._1.png", "a/Thumbs.db", "a/desktop.ini", "__MACOSX/a/._1.png"]
    junk += ["__MACOSX/a/1.png", "$RECYCLE.BIN/1.png", "a/@eaDir/1.png/SYNO_THUMB.jpg", ".git/x/1.png"]
    junk += ["notes.txt", "a/labels.csv", "LICENSE"]
    tree = {**dict.fromkeys(junk, b"junk"), "a/1.png": b"a", "b/1.png": b"b"}
    assert contents(open_folder(write(tmp_path, tree, kind))) == {"a": {"a/1.png": b"a"}, "b": {"b/1.png": b"b"}}
    assert [file.read() for file in list_images(write(tmp_path, tree, kind))] == [b"a", b"b"]


@both_kinds
def test_suffixes_count_in_any_case_and_heic_counts(tmp_path: Path, kind: str) -> None:
    tree = {"a/1.PNG": b"1", "a/2.JpEg": b"2", "a/3.HEIC": b"3", "a/png": b"", "a/4.png.txt": b""}
    names = [file.name for file in open_folder(write(tmp_path, tree, kind)).classes["a"]]
    assert names == ["a/1.PNG", "a/2.JpEg", "a/3.HEIC"]


CLASS_NAME = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\.$@_"), min_size=1, max_size=12
)  # no path, and nothing that is passed over


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(CLASS_NAME, min_size=1, max_size=3).map("/".join),
        min_size=2,
        max_size=6,
        unique_by=lambda label: unicodedata.normalize("NFC", label),
    ),
    st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_a_folder_and_its_zip_are_the_same(labels: list[str], compression: int) -> None:
    tree = {f"{label}/{number}.png": f"{label}{number}".encode() for label in labels for number in range(3)}
    # Two folders in the root, so that none wraps all of the zip.
    tree |= {"first/0.png": b"0", "second/0.png": b"0"}
    with tempfile.TemporaryDirectory() as temporary:
        from_folder = open_folder(write_folder(Path(temporary) / "tree", tree))
        from_zip = open_folder(write_zip(Path(temporary) / "tree.zip", tree, compression))
        assert contents(from_folder) == contents(from_zip)
        assert list(from_folder.classes) == list(from_zip.classes) == sorted(from_zip.classes)
        expected = {unicodedata.normalize("NFC", label) for label in labels}
        assert set(from_zip.classes) == expected | {"first", "second"}


@both_kinds
def test_accents_that_macos_took_apart_are_put_together(tmp_path: Path, kind: str) -> None:
    folder = open_folder(write(tmp_path, {"Cafe\u0301/e\u0301.png": b"1", "Tee/1.png": b"2"}, kind))
    assert contents(folder) == {"Caf\xe9": {"Caf\xe9/\xe9.png": b"1"}, "Tee": {"Tee/1.png": b"2"}}


def test_a_zip_of_macos_that_does_not_say_that_its_names_are_utf8(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"CafeXX/1.png": b"1", "Tee/1.png": b"2"})
    path.write_bytes(path.read_bytes().replace(b"CafeXX", "Cafe\u0301".encode()))
    assert list(open_folder(path).classes) == ["Caf\xe9", "Tee"]


def test_a_zip_of_dos_whose_names_are_not_utf8(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"CafX/1.png": b"1", "Tee/1.png": b"2"})
    path.write_bytes(path.read_bytes().replace(b"CafX", "Caf\xe9".encode("cp437")))
    assert list(open_folder(path).classes) == ["Caf\xe9", "Tee"]


def test_a_zip_with_backslashes(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"a\\x\\1.png": b"1", ".\\b\\1.png": b"2"})
    assert contents(open_folder(path)) == {"a/x": {"a/x/1.png": b"1"}, "b": {"b/1.png": b"2"}}


def test_names_of_a_zip_that_lead_out_of_it_are_passed_over(tmp_path: Path) -> None:
    tree = {"../x/1.png": b"out", "a/../../x/1.png": b"out", "/a/1.png": b"a", "./b//1.png": b"b"}
    path = write_zip(tmp_path / "photos.zip", tree)
    assert contents(open_folder(path)) == {"a": {"a/1.png": b"a"}, "b": {"b/1.png": b"b"}}


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["photos/", "photos/cat/1.png", "photos/dog/1.png"], ["cat", "dog"]),
        (["a/b/cat/1.png", "a/b/dog/1.png"], ["cat", "dog"]),
        (["photos/cat/1.png"], ["cat"]),
        (["cat/1.png"], ["cat"]),
        (["cat/", "cat/1.png"], ["cat"]),
        (["cat/1.png", "cat/kitten/1.png"], ["cat", "cat/kitten"]),
        (["photos/cat/1.png", "more/dog/1.png"], ["more/dog", "photos/cat"]),
        (["photos/cat/1.png", "__MACOSX/photos/cat/._1.png", "README.txt"], ["cat"]),
    ],
)
def test_a_folder_that_wraps_all_of_a_zip_is_its_root(tmp_path: Path, names: list[str], labels: list[str]) -> None:
    folder = open_folder(write_zip(tmp_path / "photos.zip", dict.fromkeys(names, b"1")))
    assert list(folder.classes) == labels
    assert [file.name for files in folder.classes.values() for file in files] == [f"{label}/1.png" for label in labels]


def test_linked_folders_and_files_count_and_loops_end(tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"cat/1.png": b"c1", "2.png": b"c2"})
    root = write_folder(tmp_path / "photos", {"dog/1.png": b"d"})
    (root / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (root / "dog" / "2.png").symlink_to(tmp_path / "elsewhere" / "2.png")
    (root / "dog" / "back").symlink_to(root)
    assert contents(open_folder(root)) == {
        "cat": {"cat/1.png": b"c1"},
        "dog": {"dog/1.png": b"d", "dog/2.png": b"c2"},
    }


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such names")
def test_a_folder_whose_name_is_no_unicode_gets_a_label_that_is(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {"tea/1.png": b"t"})
    try:
        write_folder(root, {os.fsdecode(b"caf\xe9/1.png"): b"c"})
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    folder = open_folder(root)
    assert contents(folder) == {"caf\\udce9": {"caf\\udce9/1.png": b"c"}, "tea": {"tea/1.png": b"t"}}


def test_a_zip_can_be_read_from_several_threads(tmp_path: Path) -> None:
    tree = {f"{label}/{number}.png": f"{label}{number}".encode() * 500 for label in "abc" for number in range(60)}
    folder = open_folder(write_zip(tmp_path / "photos.zip", tree, zipfile.ZIP_DEFLATED))
    files = [file for files in folder.classes.values() for file in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda file: file.read() == tree[file.name], files)) == [True] * len(tree)


# What is refused


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
        except DataError as error:
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
    assert "cat/1.png" in refusal(path) and "512 MiB" in refusal(path)


def test_an_entry_that_was_damaged(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": b"content", "dog/1.png": b"woof"})
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
    folder = open_folder(path)
    assert folder.classes["dog"][0].read() == b"woof"
    with pytest.raises(DataError, match=r"cat/1\.png, which is damaged") as caught:
        folder.classes["cat"][0].read()
    assert str(path) in str(caught.value)


def test_an_entry_that_lies_about_its_size(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "photos.zip", {"cat/1.png": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    patch_entry(path, "size", 10)
    with pytest.raises(DataError, match="which is damaged"):
        open_folder(path).classes["cat"][0].read()


# Choosing classes


def folder_of(labels: Iterable[str]) -> ImageFolder:
    return ImageFolder(Path("photos"), dict.fromkeys(sorted(labels), ()))


def test_a_line_picks_the_classes_that_end_with_it() -> None:
    folder = folder_of(["back/Latin/c1", "back/NotLatin/c1", "eval/Latin/c1", "eval/Latin/c2", "c1"])
    picked = select_classes(folder, ["Latin/c1", "", "eval/Latin/c2\n"], "split.txt")
    assert list(picked.classes) == ["back/Latin/c1", "eval/Latin/c1", "eval/Latin/c2"]
    assert picked.path == folder.path


def test_a_line_may_spell_accents_apart() -> None:
    assert list(select_classes(folder_of(["x/Caf\xe9"]), ["Cafe\u0301/"], "split.txt").classes) == ["x/Caf\xe9"]


LABEL = st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=4).map("/".join)


@given(st.sets(LABEL, min_size=1, max_size=12), st.lists(LABEL, min_size=1, max_size=4))
def test_select_classes_by_whole_components(labels: set[str], wanted: list[str]) -> None:
    def matches(label: str, line: str) -> bool:
        parts = line.split("/")
        return label.split("/")[-len(parts) :] == parts

    unmatched = [line for line in wanted if not any(matches(label, line) for label in labels)]
    if unmatched:
        with pytest.raises(DataError, match=f"split.txt names the class {unmatched[0]}, which is not in photos"):
            select_classes(folder_of(labels), wanted, "split.txt")
    else:
        picked = select_classes(folder_of(labels), wanted, "split.txt").classes
        assert list(picked) == sorted(label for label in labels if any(matches(label, line) for line in wanted))


def test_no_line_at_all() -> None:
    with pytest.raises(DataError, match=r"split\.txt names no classes"):
        select_classes(folder_of(["a"]), ["", " "], "split.txt")


# Images to classify


def png() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (3, 3)).save(stream, "PNG")
    return stream.getvalue()


def test_one_image_whatever_its_suffix(tmp_path: Path) -> None:
    for name in ("photo.png", "photo", "photo.dat", ".photo.png"):
        path = tmp_path / name
        path.write_bytes(png())
        (file,) = list_images(path)
        assert file.name == str(path)
        assert load_image(file.read(), file.name).image.size == (3, 3)


@both_kinds
def test_every_image_below(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, {"b/1.png": b"b1", "a.jpg": b"a", "b/c/2.png": b"bc2", "empty/": b""}, kind)
    files = list_images(str(path))
    assert [file.name for file in files] == [str(path / name) for name in ("a.jpg", "b/1.png", "b/c/2.png")]
    assert [file.read() for file in files] == [b"a", b"b1", b"bc2"]


def test_nothing_to_classify(tmp_path: Path) -> None:
    empty = write_folder(tmp_path / "empty", {"README.txt": b""})
    for path, fault in ((empty, "holds no images"), (tmp_path / "missing.png", "does not exist")):
        with pytest.raises(DataError, match=fault) as caught:
            list_images(path)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("reader", [open_folder, list_images])
def test_an_empty_path_is_not_the_current_folder(reader: Callable[[str], object]) -> None:
    with pytest.raises(DataError, match="empty"):
        reader("")
