"""write_atomically: the old file or the new one, nothing between and nothing left over. require_output: never what is read."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

import pytest

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import require_output, write_atomically


def failing(error: BaseException) -> Callable[..., NoReturn]:
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def full_disk() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_writes_a_new_file_and_replaces_an_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    for content in (b"first", b"", b"x" * 100_000):
        write_atomically(path, lambda stream, content=content: stream.write(content))  # type: ignore[misc]
        assert path.read_bytes() == content
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.edge"]


def test_the_old_file_is_whole_until_the_new_one_is(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    path.write_bytes(b"old")

    def write(stream: BinaryIO) -> None:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"

    write_atomically(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), ValueError("odd"), EdgeAdaptError("said")])
def test_whatever_is_raised_passes_and_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.edge"
    path.write_bytes(b"old")
    with pytest.raises(type(error)) as raised:
        write_atomically(path, failing(error))
    assert raised.value is error
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.edge"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "a.edge"
    path.write_bytes(b"old")
    if step == "fsync":
        monkeypatch.setattr(os, "fsync", failing(full_disk()))
    else:
        monkeypatch.setattr(Path, "replace", failing(full_disk()))
    with pytest.raises(EdgeAdaptError, match=r"a\.edge could not be saved because the disk is full; free some space"):
        write_atomically(path, lambda stream: stream.write(b"new"))
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.edge"]


def test_a_full_disk_while_writing(tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match="the disk is full"):
        write_atomically(tmp_path / "a.edge", failing(full_disk()))
    assert not list(tmp_path.iterdir())


def test_the_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match=r"the folder .*nowhere does not exist; create it first\."):
        write_atomically(tmp_path / "nowhere" / "a.edge", failing(AssertionError()))


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match="it is a folder; give the name of a file"):
        write_atomically(tmp_path, failing(AssertionError()))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")
def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe.edge"
    os.mkfifo(path)
    with pytest.raises(EdgeAdaptError, match=r"pipe\.edge could not be saved because it is a device or a pipe"):
        write_atomically(path, failing(AssertionError()))
    assert stat.S_ISFIFO(path.stat().st_mode) and len(list(tmp_path.iterdir())) == 1


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match="could not be saved because"):
        write_atomically(tmp_path / ("a" * 300), failing(AssertionError()))


def test_a_folder_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    monkeypatch.setattr(Path, "open", failing(denied))  # root may write anywhere, so the refusal is staged
    with pytest.raises(EdgeAdaptError, match="may not be written to; choose another folder"):
        write_atomically(tmp_path / "a.edge", lambda stream: stream.write(b"new"))


@pytest.mark.skipif(os.name == "nt", reason="permission bits are Unix's")
def test_permissions_are_those_of_the_umask_or_of_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.edge"
    before = os.umask(0o027)
    try:
        write_atomically(path, lambda stream: stream.write(b"new"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    write_atomically(path, lambda stream: stream.write(b"newer"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o604


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "a.edge"
    link = tmp_path / "link.edge"
    link.symlink_to(target)
    write_atomically(link, lambda stream: stream.write(b"new"))
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Path, Path]:
    """A file, and a folder with a file two folders down."""
    archive, photos = tmp_path / "photos.zip", tmp_path / "photos"
    archive.touch()
    (photos / "cat").mkdir(parents=True)
    (photos / "cat" / "1.jpg").touch()
    return archive, photos


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
@pytest.mark.parametrize("name", ["photos.zip", "photos/../photos.zip", "photos/cat/1.jpg", "photos/cat/../cat/1.jpg"])
@pytest.mark.parametrize("through", ["", "link"])
def test_what_is_read_is_not_written_over(
    tmp_path: Path, sources: tuple[Path, Path], name: str, through: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / name
    if through:
        (tmp_path / through).symlink_to(output)
        output = tmp_path / through
    (tmp_path / "same").symlink_to(sources[1])
    monkeypatch.chdir(tmp_path)
    for given in (sources, [source.name for source in sources], ["nowhere", "photos.zip", "same"]):
        with pytest.raises(EdgeAdaptError, match=r" to be read, and would be lost; write to another file\.$") as raised:
            require_output(output, *given)
        assert str(raised.value).startswith(f"{output} ")


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_beside_what_is_read_there_is_room(tmp_path: Path, sources: tuple[Path, Path]) -> None:
    for earlier in ("old.edge", "photos/old.edge", "photos/old.html"):
        (tmp_path / earlier).touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "new.edge")
    here, within = (
        ("new.edge", "old.edge", "dangling"),
        ("old.edge", "old.html", "new.edge", "cat/2.jpg", "../old.edge"),
    )
    for name in (*here, *(f"photos/{each}" for each in within)):
        require_output(tmp_path / name, *sources, "nowhere", "a" * 300)
    require_output(sources[0])
    assert not (tmp_path / "new.edge").exists()


def test_a_place_that_cannot_be_written_to_is_refused_as_it_would_be_in_the_end(
    tmp_path: Path, sources: tuple[Path, Path]
) -> None:
    for output in (tmp_path / "nowhere" / "a.edge", tmp_path, sources[0] / "a.edge", tmp_path / ("a" * 300)):
        with pytest.raises(EdgeAdaptError) as late:
            write_atomically(output, failing(AssertionError()))
        with pytest.raises(EdgeAdaptError) as early:
            require_output(output)
        assert str(early.value) == str(late.value)


def test_a_folder_that_may_not_be_written_to_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(self: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    require_output(tmp_path / "a.edge")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(Path, "touch", read_only)  # root, who runs many a test, may write everywhere
    with pytest.raises(EdgeAdaptError, match=r"a\.edge could not be saved because .* may not be written to"):
        require_output(tmp_path / "a.edge")


@pytest.mark.skipif(os.name != "posix", reason="other systems open no folders")
def test_the_folder_is_brought_to_the_disk_after_the_new_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    fsync, target = os.fsync, tmp_path / "a.edge"

    def recorded(number: int) -> None:
        synced.append((stat.S_ISDIR(os.fstat(number).st_mode), target.exists()))
        fsync(number)

    monkeypatch.setattr(os, "fsync", recorded)
    write_atomically(target, lambda stream: stream.write(b"new"))
    assert synced == [(False, False), (True, True)]
