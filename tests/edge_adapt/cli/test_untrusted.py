"""With --untrusted, every command that runs a bundle has its graphs run by a child process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edge_adapt.runtime.sandbox import process
from edge_adapt.runtime.sessions import Session
from tests.command_line import COLOURS, edge_adapt, succeeded, write_photos
from tests.conftest import TINY

UNCONFINED = "This system cannot keep a stranger's file from your own; crashes and endless loops are contained."

COMMANDS = {
    "adapt": ("PHOTOS", "-o", "FOLDER/new.edge", "--model", "TINY"),
    "add": ("MINE", "violet", "PHOTOS/red"),
    "check a classifier": ("MINE",),
    "check photos": ("PHOTOS", "--model", "TINY"),
    "classify": ("MINE", "PHOTOS/red"),
    "correct": ("MINE", "PHOTOS/red/0.png", "yellow"),
    "evaluate a classifier": ("MINE", "PHOTOS"),
    "evaluate a model": ("TINY", "PHOTOS", "--way", "3", "--episodes", "3"),
    "merge": ("MINE", "red", "green", "--into", "other"),
    "remove": ("MINE", "red"),
    "report of a classifier": ("MINE", "PHOTOS", "-o", "FOLDER/report.html"),
}


class Unconfined:
    """A child of a system that confines nothing, in this process."""

    confined = ("limits",)
    sessions: ClassVar[list[str]] = []

    def __init__(self, size: int) -> None:
        assert size > 0

    def session(self, graph: bytes, name: str, inputs: Any) -> Session:
        self.sessions.append(name)
        return Session(graph, name, inputs, "cpu", 1)


@pytest.mark.parametrize("what", COMMANDS)
def test_strangers_run_in_a_child(what: str, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "Child", Unconfined)
    monkeypatch.setattr(Unconfined, "sessions", [])
    photos = write_photos(tmp_path / "photos", dict.fromkeys(COLOURS, 2))
    places = {"PHOTOS": photos, "FOLDER": tmp_path, "TINY": TINY, "MINE": tmp_path / "mine.edge"}
    shutil.copy(mine, places["MINE"])
    arguments = list(COMMANDS[what])
    for name, place in places.items():
        arguments = [argument.replace(name, str(place)) for argument in arguments]
    command = what.partition(" ")[0]
    result = edge_adapt(command, *arguments, "--untrusted")
    succeeded(result)
    assert Unconfined.sessions and result.stderr.splitlines()[0] == UNCONFINED


def test_ones_own_run_here(mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "Child", None)
    photos = write_photos(tmp_path / "photos", {"red": 1})
    assert edge_adapt("classify", mine, photos).stderr == ""
