"""What lies in a folder or zip: the images in each folder of it, and how to read them."""

from __future__ import annotations

import os
import threading
import unicodedata
import zipfile
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from edge_adapt.runtime.errors import DataError, ImageError
from edge_adapt.runtime.images.images import IMAGE_SUFFIXES, MAX_ENCODED_BYTES
from edge_adapt.runtime.words import reason, size


class Source(NamedTuple):
    """The file that an image is or lies in, and how to read it from there; None for a file of its own."""

    stored_in: Path
    read: Callable[[], bytes] | None


# Every folder below the root ("" is the root itself, "/" between components), with images or without, then
# the name of each image in it, then its source.
Tree: TypeAlias = "dict[str, dict[str, Source]]"

# What operating systems and network drives leave lying about, besides every name that starts with a dot.
_LEFT_LYING_ABOUT = frozenset(("thumbs.db", "desktop.ini", "__macosx", "$recycle.bin", "@eadir"))

MAX_DEPTH = 100
"""How deep folders may lie in one another: names that grow with each would take memory without end."""

MAX_CHARACTERS = 10_000_000
"""Of the paths of all folders in a zip: 100,000 folders of 100 characters; each name in the file counts at every depth."""

_LARGE_ENTRY, _MOST_INFLATED = 16 * 1024 * 1024, 100
"""An entry of more bytes may not be more than so many times as large as it is in the zip: images are compressed already."""

_ENCRYPTED_FLAG = 0x1
_UTF8_FLAG = 0x800


def folder_tree(root: Path) -> Tree:
    """The images below a folder, each folder once: one that a link leads to is passed over where it was met before.

    Links are followed after everything else, so that a folder has its own name wherever it has one.

    Raises:
        DataError: a folder cannot be listed, or folders lie deeper than `MAX_DEPTH`.
    """
    tree: Tree = {}
    met: set[tuple[int, int]] = set()
    folders, links = deque([(root, "", 0)]), deque[tuple[Path, str, int]]()
    while folders or links:
        folder, below_root, depth = folders.popleft() if folders else links.popleft()
        try:
            status = folder.stat()
            if (status.st_dev, status.st_ino) in met:
                continue
            met.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as entries:
                found = sorted((entry.name, _is_folder(entry), entry.is_symlink()) for entry in entries)
        except OSError as error:
            raise DataError(f"{folder} cannot be listed ({reason(error)}).") from error
        if depth > MAX_DEPTH:
            raise _too_deep(root)
        tree[below_root] = {
            name: Source(folder / name, None) for name, is_folder, _ in found if not is_folder and is_image(name)
        }
        for name, is_folder, is_link in found:
            if is_folder and not _is_left_lying_about(name):
                (links if is_link else folders).append((folder / name, f"{below_root}/{name}".lstrip("/"), depth + 1))
    return tree


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def zip_tree(path: Path) -> Tree:
    """The images in a zip. Raises DataError where it is damaged, encrypted, compressed unusually, or nested too deep."""
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({reason(error)}).") from error
    except Exception as error:  # zipfile raises BadZipFile, struct.error, UnicodeDecodeError and more
        raise DataError(
            f"{path} is not a zip, or it is cut short or damaged ({reason(error)}); copy it or make it again."
        ) from error
    lock = threading.Lock()  # ZipFile counts its open entries without one
    tree: Tree = {"": {}}
    characters = 0
    for entry in archive.infolist():
        *parts, name = _entry_name(entry).split("/")  # a folder's own entry ends with "/"
        parts = [part for part in parts if part not in ("", ".")]
        if any(map(_is_left_lying_about, parts)):
            continue
        if len(parts) > MAX_DEPTH:
            raise _too_deep(path)
        for depth in range(len(parts), 0, -1):
            folder = "/".join(parts[:depth])
            if folder in tree:
                break
            tree[folder] = {}
            characters += len(folder)
            if characters > MAX_CHARACTERS:
                raise DataError(f"{path} has more folders in folders than are read here; make a zip of a part of them.")
        if is_image(name):
            _check_entry(path, entry)
            tree["/".join(parts)][name] = Source(path, partial(_read_entry, path, archive, lock, entry))
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
    if entry.file_size > max(_LARGE_ENTRY, _MOST_INFLATED * entry.compress_size):
        raise DataError(
            f"{path} holds {name}, of which {size(entry.compress_size)} unpack to {size(entry.file_size)}, as no image does; "
            "leave it out."
        )


def _read_entry(path: Path, archive: zipfile.ZipFile, lock: threading.Lock, entry: zipfile.ZipInfo) -> bytes:
    try:
        # The size bounds what a lying entry can decompress to; reading all of it also compares the CRC.
        with lock, archive.open(entry) as stream:
            return stream.read(entry.file_size)
    except Exception as error:  # as in _zip_tree
        raise ImageError(
            f"{path} holds {_entry_name(entry)}, which is damaged ({reason(error)}); copy the zip again."
        ) from error


def without_wrapper(tree: Tree) -> Tree:
    """The tree below the folders that wrap all of it, but for a folder that is a class itself."""
    while not tree[""]:
        top = [folder for folder in tree if folder and "/" not in folder]
        if len(top) != 1 or tree[top[0]] or len(tree) == 2:
            break
        tree = {folder[len(top[0]) + 1 :]: sources for folder, sources in tree.items() if folder}
    return tree


def _is_left_lying_about(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFT_LYING_ABOUT


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for an image."""
    return name[name.rfind(".") :].lower() in IMAGE_SUFFIXES and not _is_left_lying_about(name)


def nfc(name: str) -> str:
    """A name as every system spells it: macOS takes accents apart, Linux allows bytes that are no Unicode."""
    if name.isascii():
        return name
    return unicodedata.normalize("NFC", name.encode("utf-8", "backslashreplace").decode("utf-8"))
