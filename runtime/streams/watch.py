"""The image files that are dropped into a folder, by looking into it again and again: that works on every system and disk."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from edge_adapt.runtime.errors import DataError
from edge_adapt.runtime.images.images import UnreadImage, named
from edge_adapt.runtime.images.tree import is_image
from edge_adapt.runtime.words import reason

LOOK_SECONDS = 0.2
QUIET_SECONDS = 1.0
"""A file that has not changed for so long is completely written: what writes an image, or sends it, hardly ever pauses longer."""


class _State(NamedTuple):
    """What changes when a file is written to, or another takes its name."""

    modified: int
    size: int
    inode: int


class Watch:
    """The image files that come into a folder, but not into its sub-folders, from the time when this is made.

    Raises:
        DataError: there is no such folder.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        if not self._folder.is_dir():
            raise DataError(f"{folder} is not a folder that can be watched; give one that is there.")
        self._known = self._states()

    def images(self) -> Iterator[UnreadImage]:
        """Each image once it is completely written, as long as somebody asks for the next.

        One that is written anew, or replaced, counts as another. An empty file is one that is still to be written.

        Raises:
            DataError: the folder has vanished, or cannot be listed.
        """
        changed: dict[str, tuple[_State, float]] = {}
        while True:
            now, states = time.monotonic(), self._states()
            self._known = {name: state for name, state in self._known.items() if name in states}
            changed = {
                name: changed[name] if name in changed and changed[name][0] == state else (state, now)
                for name, state in states.items()
                if state != self._known.get(name)
            }
            written = [name for name, (state, since) in changed.items() if state.size and now - since >= QUIET_SECONDS]
            for name in sorted(written, key=lambda name: (states[name].modified, name)):
                self._known[name] = changed.pop(name)[0]
                yield named(self._folder / name)
            time.sleep(LOOK_SECONDS)

    def _states(self) -> dict[str, _State]:
        states: dict[str, _State] = {}
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if is_image(entry.name) and (state := _state(entry)):
                        states[entry.name] = state
        except FileNotFoundError as error:
            raise DataError(f"{self._folder} has vanished, so there is nothing to watch any more.") from error
        except OSError as error:
            raise DataError(f"{self._folder} cannot be listed ({reason(error)}).") from error
        return states


def _state(entry: os.DirEntry[str]) -> _State | None:
    """Of a file; None where it has gone since the folder was listed, or is no file."""
    try:
        if not entry.is_file():
            return None
        status = Path(entry.path).stat()  # and not the entry's own, which on Windows is that of the listing
    except FileNotFoundError:
        return None
    return _State(status.st_mtime_ns, status.st_size, status.st_ino)
