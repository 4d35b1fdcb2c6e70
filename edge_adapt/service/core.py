"""What the paths of the HTTP interface share: the file, threads to answer and to edit on, and counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edge_adapt.runtime.answers import answer
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.classifier.rejection import UNKNOWN_AT
from edge_adapt.runtime.errors import ImageError
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.images.images import UnreadImage
from edge_adapt.runtime.parallel import cores
from edge_adapt.runtime.regressor.regressor import Regressor
from edge_adapt.service.metrics import Metrics
from edge_adapt.service.served import ChangedError, Served, Snapshot

Result = TypeVar("Result")

_MOST_EDITS = 16
"""That wait for their turn."""


class BusyError(Exception):
    """More waits already than will."""


class Service:
    """A file that is answered for and edited.

    Args:
        served: the file.
        publish: is given each answer, on any thread.
        threads: images that are embedded at a time; None takes all cores.
    """

    def __init__(self, served: Served, publish: Callable[[dict[str, Any]], None], threads: int | None = None) -> None:
        self.served = served
        self.metrics = Metrics()
        self._publish = publish
        self._answering = ThreadPoolExecutor(threads or cores(), "answering")
        self._editing = ThreadPoolExecutor(1, "editing")  # one after the other, and beside answers
        self._edits = 0

    async def on_a_thread(self, work: Callable[[], Result]) -> Result:
        """What work gives that would keep others waiting; as much of it goes on at a time as there are threads."""
        return await asyncio.get_running_loop().run_in_executor(self._answering, work)

    def answer(self, image: UnreadImage, unknown_at: float = UNKNOWN_AT) -> dict[str, Any]:
        """What is said of an image. Raises ImageError where it cannot be read."""
        with self.metrics.timed():
            mine = self.served.now().mine
            said = answer(mine, mine.graphs.embed_image(image), unknown_at)
        return self._told(said)

    def answer_or_error(self, image: UnreadImage, unknown_at: float = UNKNOWN_AT) -> dict[str, Any]:
        """`answer`, or `image` and `error` where it cannot be read."""
        try:
            return self.answer(image, unknown_at)
        except ImageError as error:
            return self._told({"image": image.name, "error": str(error)})

    def _told(self, said: dict[str, Any]) -> dict[str, Any]:
        self.metrics.answered(said)
        self._publish(said)
        return said

    async def shots(self, images: Sequence[UnreadImage]) -> tuple[Classifier | Regressor, list[EmbeddedImage]]:
        """Images embedded to be learned from, and whose graphs did it. Raises ImageError where one cannot be read."""
        mine = (await self.on_a_thread(self.served.now)).mine
        work = (self.on_a_thread(partial(_shot, mine, image)) for image in images)
        return mine, await asyncio.gather(*work)

    async def edited(
        self,
        change: Callable[[Any], Classifier | Regressor],
        etag: Callable[[str], bool] | None,
        by: Classifier | Regressor | None = None,
    ) -> Snapshot:
        """The file with an edit, which is on the disk then.

        Args:
            change, etag: as `Served.edit` takes them.
            by: whose graphs embedded what the edit adds.

        Raises:
            BusyError: too many edits wait.
            EdgeAdaptError: as `Served.edit`; the file is as it was.
        """

        def checked(mine: Classifier | Regressor) -> Classifier | Regressor:
            if by is not None and mine.manifest.graphs != by.manifest.graphs:
                raise ChangedError(f"{self.served.path.name} was made with another model meanwhile; repeat the edit.")
            return change(mine)

        if self._edits >= _MOST_EDITS:
            raise BusyError
        self._edits += 1
        try:
            work = partial(self.served.edit, checked, etag)
            snapshot = await asyncio.get_running_loop().run_in_executor(self._editing, work)
        finally:
            self._edits -= 1
        self.metrics.edited()
        return snapshot


def _shot(mine: Classifier | Regressor, image: UnreadImage) -> EmbeddedImage:
    shot = mine.graphs.embed_image(image, as_shot=True)
    return EmbeddedImage(Path(shot.name).name, shot.sha256, shot.features)
