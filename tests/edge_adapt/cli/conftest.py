"""A run of a few seconds, which the command line made, and a classifier."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge_adapt
from tests.command_line import COLOURS, SMALL, succeeded, write_photos
from tests.command_line import edge_adapt as command
from tests.conftest import TINY
from tests.gratings import gratings, write_images


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 classes of 5 images."""
    folder = write_images(tmp_path_factory.mktemp("data") / "gratings", gratings(12, 5))
    (folder.parent / "train.txt").write_text("\n".join(f"grating {index:02d}" for index in range(8)), encoding="utf-8")
    (folder.parent / "val.txt").write_text(
        "\n".join(f"grating {index:02d}" for index in range(8, 12)), encoding="utf-8"
    )
    return folder


@pytest.fixture(scope="module")
def listings(data: Path) -> list[str]:
    """The options that say which classes to train and which to validate on."""
    return ["--classes", str(data.parent / "train.txt"), "--val-classes", str(data.parent / "val.txt")]


@pytest.fixture(scope="module")
def trained(data: Path, listings: list[str]) -> tuple[Path, str]:
    """A run, and what `train` said."""
    run = data.parent / "run"
    return run, succeeded(command("train", data, "-o", run, *listings, *SMALL, "--iterations", "6", "--seed", "3"))


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of four colours."""
    folder = write_photos(tmp_path_factory.mktemp("mine") / "support", dict.fromkeys(COLOURS, 2))
    path = folder.parent / "mine.edge"
    edge_adapt.load_model(TINY).adapt({label.name: sorted(label.iterdir()) for label in folder.iterdir()}).save(path)
    return path
