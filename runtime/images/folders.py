"""Folders and zips of images: one sub-folder per class, read in place and never extracted."""

from __future__ import annotations

import os
import stat
import threading
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.images import IMAGE_SUFFIXES, MAX_ENCODED_BYTES, read_file, reason


class _Source(NamedTuple):
    """The file that an image is or lies in, and how to read it from there; None for a file of its own."""

    stored_in: Path
    read: Callable[[], bytes] | None


# Every folder below the root ("" is the root itself, "/" between components), with images or without, then
# the name of each image in it, then its source.
_Tree: TypeAlias = "dict[str, dict[str, _Source]]"

# What operating systems and network drives leave lying about, besides every name that starts with a dot.
_LEFT_LYING_ABOUT = frozenset(("thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir"))

MAX_DEPTH = 100
"""How deep folders may lie in one another: names that grow with each would take memory without end."""

_ENCRYPTED_FLAG = 0x1
_UTF8_FLAG = 0x800


@dataclass(frozen=True)
class ImageFile:
    """One image file in a folder or zip, not read yet.

    Attributes:
        name: its path below the root with "/", in Unicode's NFC form (from `open_folder`), or the path at which
            the user finds it (from `list_images`).
        stored_in: the file on the disk that holds it: itself, or the zip.
    """

    name: str
    stored_in: Path
    _read: Callable[[], bytes] | None = field(repr=False, compare=False)

    def read(self) -> bytes:
        """The encoded bytes; may be called from several threads.

        Raises:
            ImageError: a file that cannot be read any more, or is empty.
            DataError: a zip entry that cannot be read.
        """
        return read_file(self.stored_in, str(self.stored_in)) if self._read is None else self._read()

    @property
    def own_file(self) -> Path | None:
        """Where it lies if it is a file of its own, which any process can read."""
        return self.stored_in if self._read is None else None


@dataclass(frozen=True)
class ImageFolder:
    """Labelled images: the files of each class, both sorted by name."""

    path: Path
    classes: Mapping[str, tuple[ImageFile, ...]]


def open_folder(path: str | os.PathLike[str]) -> ImageFolder:
    """Lists a folder or zip; a class is any folder in it that directly holds images.

    A class is named by its path below the root, with "/", in Unicode's NFC form. Where all of a zip lies in
    one wrapping folder, as file managers make them, that folder is the root. Files that are no images, hidden
    files and what systems leave lying about are passed over.

    Raises:
        DataError: no folder or zip there, no images in it, images that lie in the root, a class folder
            without images, two classes whose names differ only in Unicode form, folders nested deeper than
            MAX_DEPTH, or a zip that is damaged, encrypted or compressed in an unusual way.
    """
    path = _given(path)
    kind = _kind(path)
    if kind == "file":
        raise DataError(f"{path} is neither a folder nor a .zip file, one of which is needed here.")
    tree = _without_wrapper(_zip_tree(path)) if kind == "zip" else _folder_tree(path)
    if tree[""]:
        raise DataError(
            f"{path} holds images that belong to no class, such as {min(tree[''])}: "
            "put the images of each class into a sub-folder named after it."
        )
    parents = {folder.rpartition("/")[0] for folder in tree if folder}
    for folder in sorted(tree):
        if folder and folder not in parents and not tree[folder]:
            raise DataError(f"{path} has a class folder without images, {_nfc(folder)}; fill or remove it.")
    classes: dict[str, tuple[ImageFile, ...]] = {}
    for folder, sources in tree.items():
        if not sources:
            continue
        label = _nfc(folder)
        if label in classes:
            raise DataError(
                f"{path} has two folders {label}, alike but for how Unicode spells their names; rename one."
            )
        files = (ImageFile(f"{label}/{_nfc(name)}", *source) for name, source in sources.items())
        classes[label] = tuple(sorted(files, key=_by_name))
    if not classes:
        raise DataError(f"{path} holds no images: put those of each class into a sub-folder named after it.")
    return ImageFolder(path, dict(sorted(classes.items())))


def select_classes(folder: ImageFolder, wanted: Iterable[str], source: str) -> ImageFolder:
    """Keeps the classes whose path ends with a wanted line, component by component.

    "Latin/character01" picks "images_background/Latin/character01" but not "NotLatin/character01". Blank
    lines are passed over.

    Args:
        wanted: the lines.
        source: what messages call the place that the lines come from.

    Raises:
        DataError: a line that picks no class, or no line at all.
    """
    by_ending: dict[str, list[str]] = {}
    for label in folder.classes:
        ending = label
        while ending:
            by_ending.setdefault(ending, []).append(label)
            ending = ending.partition("/")[2]
    picked: set[str] = set()
    for line in wanted:
        ending = _nfc(line.strip().strip("/"))
        if not ending:
            continue
        if ending not in by_ending:
            raise DataError(f"{source} names the class {ending}, which is not in {folder.path}; correct it.")
        picked.update(by_ending[ending])
    if not picked:
        raise DataError(f"{source} names no classes: write one on each line.")
    return ImageFolder(folder.path, {label: folder.classes[label] for label in sorted(picked)})


def list_images(path: str | os.PathLike[str]) -> tuple[ImageFile, ...]:
    """One image file, whatever its suffix, or every image below a folder or in a zip, sorted by path.

    Raises:
        DataError: nothing there, a folder or zip without images, folders nested deeper than MAX_DEPTH, or a zip that
            cannot be read.
    """
    path = _given(path)
    kind = _kind(path)
    if kind == "file":
        return (ImageFile(str(path), path, None),)
    tree = _zip_tree(path) if kind == "zip" else _folder_tree(path)
    files = [
        ImageFile(str(path / folder / name), *source)
        for folder, sources in tree.items()
        for name, source in sources.items()
    ]
    if not files:
        raise DataError(f"{path} holds no images.")
    return tuple(sorted(files, key=_by_name))


def _given(path: str | os.PathLike[str]) -> Path:
    """The path, unless it is empty: that is an unset variable, not the folder one happens to be in."""
    if not os.fspath(path):
        raise DataError("the path of the images is empty; give a folder, a zip or an image.")
    return Path(path)


def _kind(path: Path) -> str:
    """What there is: "folder", "zip" or "file"."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist; check the spelling of the path.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({reason(error)}).") from error
    if stat.S_ISDIR(mode):
        return "folder"
    return "zip" if path.suffix.lower() == ".zip" else "file"


def _folder_tree(root: Path) -> _Tree:
    tree: _Tree = {}

    def visit(folder: Path, below_root: str, above: frozenset[tuple[int, int]]) -> None:
        try:
            status = folder.stat()
            with os.scandir(folder) as entries:
                found = sorted((entry.name, entry.is_dir()) for entry in entries)
        except OSError as error:
            raise DataError(f"{folder} cannot be listed ({reason(error)}).") from error
        identity = (status.st_dev, status.st_ino)
        if identity in above:  # a link back to a folder that it lies in
            return
        if len(above) > MAX_DEPTH:
            raise _too_deep(root)
        tree[below_root] = {
            name: _Source(folder / name, None) for name, is_folder in found if not is_folder and _is_image(name)
        }
        for name, is_folder in found:
            if is_folder and not _is_left_lying_about(name):
                visit(folder / name, f"{below_root}/{name}".lstrip("/"), above | {identity})

    visit(root, "", frozenset())
    return tree


def _zip_tree(path: Path) -> _Tree:
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}).") from error
    except Exception as error:  # zipfile raises BadZipFile, struct.error, UnicodeDecodeError and more
        raise DataError(
            f"{path} is not a zip, or it is cut short or damaged ({reason(error)}); copy it or make it again."
        ) from error
    lock = threading.Lock()  # ZipFile counts its open entries without one
    tree: _Tree = {"": {}}
    for entry in archive.infolist():
        *parts, name = _entry_name(entry).split("/")  # a folder's own entry ends with "/"
        parts = [part for part in parts if part not in ("", ".")]
        if any(map(_is_left_lying_about, parts)):
            continue
        if len(parts) > MAX_DEPTH:
            raise _too_deep(path)
        for depth in range(len(parts), 0, -1):
            if "/".join(parts[:depth]) in tree:
                break
            tree["/".join(parts[:depth])] = {}
        if _is_image(name):
            _check_entry(path, entry)
            tree["/".join(parts)][name] = _Source(path, partial(_read_entry, path, archive, lock, entry))
    return tree


def _too_deep(path: Path) -> DataError:
    return DataError(f"{path} has folders nested deeper than {MAX_DEPTH}; give the folder that holds the images.")


def _entry_name(entry: zipfile.ZipInfo) -> str:
    name = entry.filename
    if not entry.flag_bits & _UTF8_FLAG and not name.isascii():
        # macOS writes UTF-8 without saying so, and Python reads what does not say so as code page 437. Text
        # of that code page is hardly ever valid UTF-8.
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = entry.filename
    return name.replace("\\", "/")


def _check_entry(path: Path, entry: zipfile.ZipInfo) -> None:
    name = _entry_name(entry)
    if entry.flag_bits & _ENCRYPTED_FLAG:
        raise DataError(f"{path} is encrypted ({name} in it is); unpack it, or make it without a password.")
    # The other methods of zipfile decompress without a bound, and nothing common writes them.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(
            f"{path} holds {name} in a compression that is not read here (method {entry.compress_type}): "
            "make the zip again with the usual one (deflate)."
        )
    if entry.file_size > MAX_ENCODED_BYTES:
        raise DataError(f"{path} holds {name}, which is larger than an image may be ({MAX_ENCODED_BYTES >> 20} MiB).")


def _read_entry(path: Path, archive: zipfile.ZipFile, lock: threading.Lock, entry: zipfile.ZipInfo) -> bytes:
    try:
        # The size bounds what a lying entry can decompress to; reading all of it also compares the CRC.
        with lock, archive.open(entry) as stream:
            return stream.read(entry.file_size)
    except Exception as error:  # as in _zip_tree
        raise DataError(
            f"{path} holds {_entry_name(entry)}, which is damaged ({reason(error)}); copy the zip again."
        ) from error


def _without_wrapper(tree: _Tree) -> _Tree:
    """The tree below the folders that wrap all of it, but for a folder that is a class itself."""
    while not tree[""]:
        top = [folder for folder in tree if folder and "/" not in folder]
        if len(top) != 1 or tree[top[0]] or len(tree) == 2:
            break
        tree = {folder[len(top[0]) + 1 :]: sources for folder, sources in tree.items() if folder}
    return tree


def _is_left_lying_about(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_LYING_ABOUT


def _is_image(name: str) -> bool:
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and not _is_left_lying_about(name)


def _nfc(name: str) -> str:
    """A name as every system spells it: macOS takes accents apart, Linux allows bytes that are no Unicode."""
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", name.encode("utf-8", "backslashreplace").decode("utf-8"))


def _by_name(file: ImageFile) -> str:
    return file.name
