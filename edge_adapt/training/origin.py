"""What a run was given beside its configuration, noted in RUN/origin.json so that the run can go on without being told again.

These are places on this machine, and stay with the run: no bundle has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from edge_adapt.export.embed.from_extractor import PixelNormalization
from edge_adapt.methods.feature_teacher import FeatureTeacher
from edge_adapt.runtime.data.dataset import ImageDataset, load_dataset
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.files import write_atomically
from edge_adapt.training import distributed
from edge_adapt.training.checkpoint import Checkpoint, load_checkpoint
from edge_adapt.training.compute import Compute, Device
from edge_adapt.training.config import TrainingConfig
from edge_adapt.training.start import Reading, Start


class Given(NamedTuple):
    """What a training is given beside its configuration; see `edge_adapt.train`, whose arguments these are."""

    data: ImageDataset
    validation: ImageDataset | None
    start: Start
    compute: Compute
    reading: Reading


@dataclass(frozen=True)
class Source:
    """Where a data set was read: the arguments of `load_dataset` that do not follow from the configuration."""

    path: str
    classes: Sequence[str]
    skip_bad: bool

    @staticmethod
    def of(data: ImageDataset | None) -> Source | None:
        """None for images that came from no files."""
        if data is None or not data.files:
            return None
        listings = [str(Path(listing).absolute()) for listing in data.listings]
        return Source(str(Path(data.source).absolute()), listings, bool(data.skipped))

    def read(self, run: Path, config: TrainingConfig, reading: Reading) -> ImageDataset:
        """The data set again."""
        for path in (self.path, *self.classes):
            if not Path(path).exists():
                raise EdgeAdaptError(
                    f"{run} was trained on {self.path}, and {path} is no longer there; put it back, or give the new place of the "
                    "data: edge-adapt train DATA --resume RUN."
                )
        return load_dataset(
            self.path,
            config.preprocessing,
            self.classes,
            config.rotations,
            progress=reading.progress and distributed.is_first(),
            cache=reading.cache,
            skip_bad=self.skip_bad,
        )


@dataclass(frozen=True)
class Origin:
    """RUN/origin.json; paths are absolute.

    Attributes:
        data, validation: where the images lie; None for none, and for images that came from no files.
        teacher: the folder of a run, or the arguments of `FeatureTeacher.read` for each; None for none, and for what came from
            no file.
        cache: the folder for pixels and features; None for the default.
        device, threads: as of `Compute`.
    """

    data: Source | None
    validation: Source | None
    teacher: str | Sequence[Mapping[str, Any]] | None
    cache: str | None
    device: Device
    threads: int | None

    @staticmethod
    def of(given: Given) -> Origin:
        """What there is to note."""
        taught, cache = given.start.taught, given.reading.cache
        teacher: str | Sequence[Mapping[str, Any]] | None = None
        if isinstance(taught, Checkpoint):
            teacher = taught.folder or None
        elif taught and all(each.source for each in taught):
            teacher = [each.source for each in taught]
        return Origin(
            Source.of(given.data),
            Source.of(given.validation),
            teacher,
            str(Path(cache).absolute()) if cache else None,
            given.compute.device,
            given.compute.threads,
        )

    def save(self, run: Path) -> None:
        """Write RUN/origin.json."""
        text = json.dumps(asdict(self), indent=2) + "\n"
        write_atomically(run / "origin.json", lambda stream: stream.write(text.encode()))

    @staticmethod
    def read(run: Path) -> Origin:
        """What RUN/origin.json says.

        Raises:
            EdgeAdaptError: it is missing or damaged.
        """
        path = run / "origin.json"
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            data, validation = (
                Source(**saved.pop(name)) if saved[name] else saved.pop(name) for name in ("data", "validation")
            )
            return Origin(data, validation, **saved)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EdgeAdaptError(
                f"{path} is missing or damaged ({error}), and with it where the data of this run lie; train to another folder."
            ) from error

    def moved(self, path: str) -> Origin:
        """With images that lie elsewhere now; those to validate on too, if they lay in one place with them."""
        old = self.data.path if self.data else None
        data, validation = (
            replace(source, path=path) if source and source.path == old else source
            for source in (self.data, self.validation)
        )
        return replace(self, data=data, validation=validation)

    def read_teacher(self, compute: Compute) -> Checkpoint | Sequence[FeatureTeacher] | None:
        """The teacher again, which raises EdgeAdaptError where it is gone."""
        if self.teacher is None or isinstance(self.teacher, str):
            return load_checkpoint(self.teacher) if self.teacher else None
        return [
            FeatureTeacher.read(
                **{**arguments, "normalization": _normalization(arguments["normalization"])},
                provider="cpu" if compute.device == "cpu" else "auto",
                threads=compute.threads,
            )
            for arguments in self.teacher
        ]


def _normalization(saved: Mapping[str, Sequence[float]] | None) -> PixelNormalization | None:
    return PixelNormalization(tuple(saved["mean"]), tuple(saved["std"])) if saved else None
