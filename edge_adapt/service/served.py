"""The file that is served: what it holds now, whoever changed it last, and edits of it."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from PIL import Image

from edge_adapt.runtime.answers import answer
from edge_adapt.runtime.bundle.bundle import Bundle
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.editing import edit
from edge_adapt.runtime.errors import BundleError, EdgeAdaptError
from edge_adapt.runtime.images.images import named
from edge_adapt.runtime.model import adapted, load_adapted
from edge_adapt.runtime.packing import pack
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.runtime.sessions import Provider

Result = TypeVar("Result")

_TRIES = 5  # to read a file that others write to


class ChangedError(EdgeAdaptError):
    """The file is no longer the one that an edit was meant for."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A whole state of the file, in memory: nothing of it is read again.

    Attributes:
        mine: what it holds.
        etag: the SHA-256 of the file, in quotes.
        identity: what changes when the file is written to or replaced.
    """

    mine: Classifier | Regressor
    etag: str
    identity: tuple[int, ...]


class Served:
    """The file, for any number of threads.

    Args:
        path: an adapted bundle.
        provider: what runs `embed`, on one thread an image.

    Raises:
        EdgeAdaptError: there is no such file, or it cannot be used.
    """

    def __init__(self, path: str | os.PathLike[str], provider: Provider = "auto") -> None:
        self.path = Path(path)
        self._provider: Provider = provider
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self.now()

    def now(self) -> Snapshot:
        """What the file holds now. Raises EdgeAdaptError where it has vanished or was damaged since."""
        snapshot = self._snapshot
        if snapshot is not None and snapshot.identity == self._identity():
            return snapshot
        with self._lock:
            if self._snapshot is None or self._snapshot.identity != self._identity():
                (mine, etag), identity = self._whole(self._read)
                self._snapshot = Snapshot(mine, etag, identity)
            return self._snapshot

    def edit(self, change: Callable[[Any], Classifier | Regressor], etag: Callable[[str], bool] | None) -> Snapshot:
        """Change what the file holds, and nothing that anybody did to it meanwhile is lost.

        Args:
            change: gives what it becomes.
            etag: whether the state with this ETag is the one to change; None changes any.

        Returns:
            what the file holds then, which is on the disk.

        Raises:
            ChangedError: the state is another.
            EdgeAdaptError: what `change` raises, or the file cannot be written; it is then as it was.
        """

        def checked(mine: Classifier | Regressor) -> Classifier | Regressor:
            if etag is not None and not etag(_etag(self.path)):
                raise ChangedError(f"{self.path.name} was changed since; look at it again, and repeat the edit.")
            return change(mine)

        edit(self.path, checked, provider="cpu", threads=1)
        return self.now()

    def open(self, snapshot: Snapshot) -> BinaryIO | None:
        """The file to read from, whatever replaces it; None where it is another than this snapshot already."""
        try:
            stream = self.path.open("rb")
        except OSError:
            return None
        if _identity(os.fstat(stream.fileno())) == snapshot.identity:
            return stream
        stream.close()
        return None

    def task(self) -> tuple[bytes, Snapshot]:
        """What `edge-adapt pack` writes of it, and of which state."""

        def packed() -> tuple[bytes, Snapshot]:
            snapshot = self.now()
            with tempfile.TemporaryDirectory() as folder:
                task = Path(folder) / f"{self.path.stem}.task"
                pack(self.path, task)
                return task.read_bytes(), snapshot

        return self._whole(packed)[0]

    def _read(self) -> tuple[Classifier | Regressor, str]:
        before = self._snapshot
        if before is None:
            mine = load_adapted(self.path, self._provider, threads=1)
        else:
            mine = adapted(before.mine.graphs.of(Bundle.open(self.path)))
        self._touch(mine)
        return mine, _etag(self.path)

    def _touch(self, mine: Classifier | Regressor) -> None:
        """Have all read, and every graph loaded, that is when it is first asked for."""
        mine.adaptation, mine.support, mine.history  # noqa: B018
        answer(mine, mine.graphs.embed_image(named(Image.new("RGB", (8, 8)))))

    def _whole(self, work: Callable[[], Result]) -> tuple[Result, tuple[int, ...]]:
        """What work on the file gives that nobody changed meanwhile, and its identity."""
        for _ in range(_TRIES):
            before = self._identity()
            try:
                result = work()
            except BundleError:
                if self._identity() == before:
                    raise
            else:
                if self._identity() == before:
                    return result, before
        raise EdgeAdaptError(f"{self.path} is changed faster than it can be read; try again.")

    def _identity(self) -> tuple[int, ...]:
        try:
            return _identity(self.path.stat())
        except OSError as error:
            raise EdgeAdaptError(f"{self.path} cannot be read ({error.strerror or error}); put it back.") from error


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _etag(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return f'"{digest.hexdigest()}"'
