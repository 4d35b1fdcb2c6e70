"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import stat
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edge_adapt.runtime.errors import EdgeAdaptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Calls `write(stream)` on a temporary file beside `path`, brings it to the disk and renames it to `path`.

    A reader, or a power cut at any moment, finds the old file or the new one, never a part. Whatever goes
    wrong, KeyboardInterrupt included, the old file survives and the temporary one is removed. A new file gets
    the permissions that the umask gives, a replaced one keeps its own, and a symbolic link stays a link.

    Raises:
        EdgeAdaptError: the system refuses, or something that is no file is there; names the file and what to do.
            Whatever else `write` raises passes through.
    """
    target = Path(os.path.realpath(path))
    temporary = _temporary_beside(target)
    _remove_abandoned(target.parent)
    try:
        with suppress(FileNotFoundError):
            require_file(target.stat().st_mode)
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
        _bring_to_disk(target.parent)
    except BaseException as error:
        with suppress(OSError):  # it may not exist, and the first error is the one to report
            temporary.unlink()
        if isinstance(error, OSError):
            raise EdgeAdaptError(_why_not_saved(path, target, error)) from error
        raise


def _bring_to_disk(folder: Path) -> None:
    """After a power cut, a file has its new name only where its folder was written too. Not every system lets one ask for it."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _temporary_beside(target: Path) -> Path:
    return target.parent / f"{_temporary_of(os.getpid())}{os.urandom(8).hex()}.tmp"


def _temporary_of(process: int) -> str:
    """How the names of a process's temporary files begin, on this host: a drive may be shared by several."""
    return f".edge-adapt-{zlib.crc32(platform.node().encode()):08x}-{process}-"


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote."""
    if os.name != "posix":  # elsewhere there is no harmless way to ask whether a process lives
        return
    with suppress(OSError):
        for path in folder.glob(f"{_temporary_of(0)[:-2]}*.tmp"):
            process = path.name.split("-")[3]
            if process.isdecimal() and not _is_alive(int(process)):
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Wait until no other process holds this file, and hold it: what is read and written inside loses no other's change.

    The lock is on the file itself, which `write_atomically` replaces, and leaves nothing behind. Where the system has no such
    locks (Windows), nothing is locked.

    Raises:
        EdgeAdaptError: the file cannot be opened.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    target = Path(os.path.realpath(path))
    while True:
        try:
            require_file(target.stat().st_mode)
            stream = target.open("rb")
        except OSError as error:
            raise EdgeAdaptError(f"{os.fspath(path)} cannot be opened ({error.strerror or error}).") from error
        with stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            try:
                current = os.path.samestat(os.fstat(stream.fileno()), target.stat())
            except OSError:
                current = False
            if current:  # and not replaced by who held it before
                yield
                return


WRITTEN = (".edge", ".html")
"""The kinds of file that commands write, and do not read where they lie among photos or in a run."""


def require_output(output: str | os.PathLike[str], *sources: str | os.PathLike[str]) -> None:
    """Refuse, before any work, a file that could not be written or would replace what it is made from.

    Args:
        output: the file to write.
        sources: the files and folders to read; of a folder, nothing that lies in it may be replaced but an earlier bundle or
            report. What is not there is passed over.

    Raises:
        EdgeAdaptError: its folder does not exist or may not be written to, it is no file, or it would be lost; names it and what
            to do.
    """
    target = Path(os.path.realpath(output))
    try:
        with suppress(FileNotFoundError):
            require_file(target.stat().st_mode)
        temporary = _temporary_beside(target)  # what a folder lets one write, only writing tells
        temporary.touch(exist_ok=False)
        temporary.unlink()
    except OSError as error:
        raise EdgeAdaptError(_why_not_saved(output, target, error)) from error
    places = [target] if target.suffix in WRITTEN else [target, *target.parents]
    for source in sources if target.exists() else ():
        with suppress(OSError):
            if any(place.samefile(source) for place in places):
                role = "is" if target.samefile(source) else f"lies in {os.fspath(source)}, which is"
                raise EdgeAdaptError(
                    f"{os.fspath(output)} {role} to be read, and would be lost; write to another file."
                )


def require_file(mode: int) -> None:
    """Raise OSError unless this is the mode of a file: root could replace /dev/null, and a pipe waits for who writes."""
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is a device or a pipe")


def _why_not_saved(path: str | os.PathLike[str], target: Path, error: OSError) -> str:
    fault, remedy = str(error.strerror or error), "choose another place"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fault, remedy = "the disk is full", "free some space and save it again"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR) and not target.parent.is_dir():
        fault, remedy = f"the folder {target.parent} does not exist", "create it first"
    elif error.errno == errno.EISDIR:
        fault, remedy = "it is a folder", "give the name of a file"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fault, remedy = f"{target.parent} may not be written to", "choose another folder"
    return f"{os.fspath(path)} could not be saved because {fault}; {remedy}."
