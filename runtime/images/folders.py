"""Folders and zips of images: one sub-folder per class, read in place and never extracted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.images import LoadedImage, load_image, read_file
from edge_adapt.runtime.images.tree import folder_tree, nfc, without_wrapper, zip_tree
from edge_adapt.runtime.words import reason


@dataclass(frozen=True)
class ImageFile:
    """One image file in a folder or zip, not read yet.

    Attributes:
        name: its path below the root with "/", in Unicode's NFC form (from `open_folder`), or the path at which
            the user finds it (from `list_images`).
        shown: the path at which the user finds it, for messages.
        stored_in: the file on the disk that holds it: itself, or the zip.
    """

    name: str
    shown: str
    stored_in: Path
    _read: Callable[[], bytes] | None = field(repr=False, compare=False)

    def read(self) -> bytes:
        """The encoded bytes; may be called from several threads.

        Raises:
            ImageError: a file that cannot be read any more, or is empty, or a damaged entry of a zip.
        """
        return read_file(self.stored_in, str(self.stored_in)) if self._read is None else self._read()

    def load(self, size: tuple[int, int] | None = None) -> LoadedImage:
        """See `load_image`."""
        return load_image(self.read(), self.shown, size)

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
    tree = without_wrapper(zip_tree(path)) if kind == "zip" else folder_tree(path)
    if tree[""]:
        raise DataError(
            f"{path} holds images that belong to no class, such as {min(tree[''])}: "
            "put the images of each class into a sub-folder named after it."
        )
    parents = {folder.rpartition("/")[0] for folder in tree if folder}
    for folder in sorted(tree):
        if folder and folder not in parents and not tree[folder]:
            raise DataError(f"{path} has a class folder without images, {nfc(folder)}; fill or remove it.")
    classes: dict[str, tuple[ImageFile, ...]] = {}
    for folder, sources in tree.items():
        if not sources:
            continue
        label = nfc(folder)
        if label in classes:
            raise DataError(
                f"{path} has two folders {label}, alike but for how Unicode spells their names; rename one."
            )
        files = (
            ImageFile(f"{label}/{nfc(name)}", f"{path}/{label}/{nfc(name)}", *source)
            for name, source in sources.items()
        )
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
        ending = nfc(line.strip().strip("/"))
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
        return (ImageFile(str(path), str(path), path, None),)
    tree = zip_tree(path) if kind == "zip" else folder_tree(path)
    files = [
        ImageFile(str(path / folder / name), str(path / folder / name), *source)
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
    if not stat.S_ISREG(mode):  # a pipe waits for a writer, and some devices never end
        raise DataError(f"{path} is a device or a pipe; give a folder, a zip or an image.")
    return "zip" if path.suffix.lower() == ".zip" else "file"


def _by_name(file: ImageFile) -> str:
    return file.name
