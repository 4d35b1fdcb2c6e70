"""Folders and zips of images for tests, whose content need not be images where nothing decodes them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.folders import ImageFolder, open_folder

Tree = Mapping[str, bytes]  # path below the root -> content; a path that ends with "/" is an empty folder


def write_folder(root: Path, tree: Tree) -> Path:
    """A folder of these files; returns `root`."""
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
    """A zip of these files; returns `path`."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return path


def write(path: Path, tree: Tree, kind: str) -> Path:
    """A "folder" or "zip" of these files in `path`."""
    path.mkdir(exist_ok=True)
    return write_zip(path / "photos.zip", tree) if kind == "zip" else write_folder(path / "photos", tree)


def contents(folder: ImageFolder) -> dict[str, dict[str, bytes]]:
    """The content of each file of each class."""
    return {label: {file.name: file.read() for file in files} for label, files in folder.classes.items()}


def refusal(path: Path) -> str:
    """What `open_folder` says when it refuses."""
    with pytest.raises(DataError) as caught:
        open_folder(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


both_kinds = pytest.mark.parametrize("kind", ["folder", "zip"])
