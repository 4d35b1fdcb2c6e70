"""A watched folder, on a clock that a test turns."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.images import UnreadImage
from edge_adapt.runtime.streams.watch import LOOK_SECONDS, QUIET_SECONDS, Watch


class EnoughError(Exception):
    """The test has seen enough."""


class Desk:
    """A folder in which things happen at given looks, and what `Watch` gives meanwhile, with the time at which it does."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._now = folder, 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self._now)
        monkeypatch.setattr(time, "sleep", self._sleep)

    def run(self, seconds: float, happenings: dict[float, Callable[[], object]]) -> list[tuple[str, float]]:
        self._until, self._happenings = self._now + seconds, dict(sorted(happenings.items()))
        seen: list[tuple[str, float]] = []

        def see(image: UnreadImage) -> None:
            assert Path(image.name).parent == self.folder
            seen.append((Path(image.name).name, round(self._now, 3)))

        watch = Watch(self.folder)
        with pytest.raises(EnoughError):
            for image in watch.images():
                see(image)
        return seen

    def _sleep(self, seconds: float) -> None:
        self._now += seconds
        if self._now > self._until:
            raise EnoughError
        for at in [at for at in self._happenings if at <= self._now]:
            self._happenings.pop(at)()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "old.jpg").write_bytes(b"old")
    return Desk(tmp_path / "inbox", monkeypatch)


def append(path: Path, data: bytes) -> Callable[[], object]:
    def do() -> None:
        with path.open("ab") as file:
            file.write(data)

    return do


def test_what_is_there_already_is_passed_over_and_what_comes_is_given_once(desk: Desk) -> None:
    happenings = {1.0: append(desk.folder / "b.jpg", b"1"), 1.01: append(desk.folder / "a.PNG", b"1")}
    seen = desk.run(30, happenings)
    assert sorted(name for name, _ in seen) == ["a.PNG", "b.jpg"]
    assert all(1 + QUIET_SECONDS <= at <= 1.01 + QUIET_SECONDS + 3 * LOOK_SECONDS for _, at in seen)


def test_a_file_is_given_when_it_is_written_to_the_end(desk: Desk) -> None:
    steps = {1 + 0.6 * step: append(desk.folder / "slow.jpg", b"some") for step in range(10)}
    ((name, at),) = desk.run(30, steps)
    assert name == "slow.jpg" and at >= 1 + 0.6 * 9 + QUIET_SECONDS - LOOK_SECONDS


def test_an_empty_file_is_waited_for(desk: Desk) -> None:
    assert desk.run(20, {1.0: (desk.folder / "new.jpg").touch}) == []
    ((name, _),) = desk.run(20, {25.0: append(desk.folder / "new.jpg", b"x")})
    assert name == "new.jpg"


def test_a_file_that_is_renamed_into_place(desk: Desk) -> None:
    part = desk.folder / "new.jpg.part"
    ((name, at),) = desk.run(20, {1.0: append(part, b"x"), 9.0: lambda: part.rename(desk.folder / "new.jpg")})
    assert name == "new.jpg" and 10 <= at <= 11


def test_a_file_that_is_replaced_or_written_anew_is_another(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "next").write_bytes(b"next")
    happenings = {
        2.0: lambda: (tmp_path / "next").replace(desk.folder / "old.jpg"),
        8.0: append(desk.folder / "old.jpg", b"more"),
    }
    assert [name for name, _ in desk.run(20, happenings)] == ["old.jpg", "old.jpg"]


def test_what_is_no_image_or_goes_away_is_passed_over(desk: Desk) -> None:
    def come() -> None:
        (desk.folder / "notes.txt").write_text("x")
        (desk.folder / ".hidden.jpg").write_text("x")
        (desk.folder / "folder.jpg").mkdir()
        (desk.folder / "brief.jpg").write_text("x")

    assert desk.run(20, {1.0: come, 1.5: (desk.folder / "brief.jpg").unlink}) == []


def test_a_folder_that_is_not_there_or_vanishes(desk: Desk, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", desk.folder / "old.jpg"):
        with pytest.raises(DataError, match="is not a folder"):
            Watch(path)
    watch = Watch(desk.folder)
    desk._until, desk._happenings = 9.0, {1.0: lambda: shutil.rmtree(desk.folder)}
    with pytest.raises(DataError, match="has vanished"):
        next(watch.images())
