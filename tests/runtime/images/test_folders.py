"""Folders and zips of labelled images."""

from __future__ import annotations

import io
import os
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.folders import ImageFolder, list_images, open_folder, select_classes
from edge_adapt.runtime.images.images import load_image
from tests.image_folders import both_kinds, contents, write, write_folder, write_zip

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
def test_an_image_knows_the_file_that_holds_it(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, {"b/2.png": b"2", "Cafe\u0301/x/1.png": b"1"}, kind)
    expected = [path, path] if kind == "zip" else [path / "Cafe\u0301/x/1.png", path / "b/2.png"]
    assert [file.stored_in for files in open_folder(path).classes.values() for file in files] == sorted(expected)
    assert sorted(file.stored_in for file in list_images(path)) == sorted(expected)


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
