"""The teachers that `train` is given, read as the method takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from edge_adapt.methods.feature_teacher import FeatureTeacher
    from edge_adapt.methods.method import Method
    from edge_adapt.training.checkpoint import Checkpoint
    from edge_adapt.training.compute import Device

Value = TypeVar("Value")


@dataclass(frozen=True)
class GivenTeachers:
    """What the options say.

    Attributes:
        paths: of runs or files.
        normalize, image_size, output_name: for each of the files, or one for all of them.
    """

    paths: tuple[str, ...]
    normalize: tuple[str, ...] = ()
    image_size: tuple[int, ...] = ()
    output_name: tuple[str, ...] = ()

    def read(self, method: Method, device: Device, threads: int | None) -> Checkpoint | Sequence[FeatureTeacher] | None:
        """A finished run for all methods but `distil`, which takes files.

        Raises:
            EdgeAdaptError: one cannot be read.
        """
        from edge_adapt.export.embed.from_extractor import NORMALIZATIONS
        from edge_adapt.methods.distil import Distil
        from edge_adapt.methods.feature_teacher import FeatureTeacher
        from edge_adapt.training.checkpoint import load_checkpoint

        if isinstance(method, Distil):
            return [
                FeatureTeacher.read(
                    path,
                    normalization=NORMALIZATIONS[normalize] if normalize else None,
                    image_size=image_size,
                    output=output,
                    provider="cpu" if device == "cpu" else "auto",
                    threads=threads,
                )
                for path, normalize, image_size, output in zip(
                    self.paths,
                    self._each("--teacher-normalize", self.normalize),
                    self._each("--teacher-image-size", self.image_size),
                    self._each("--teacher-output-name", self.output_name),
                    strict=True,
                )
            ]
        if len(self.paths) > 1:
            raise click.UsageError(f"several teachers are for the method distil, and this is {method.name}; give one.")
        for option, values in (
            ("--teacher-normalize", self.normalize),
            ("--teacher-image-size", self.image_size),
            ("--teacher-output-name", self.output_name),
        ):
            if values:
                raise click.UsageError(f"{option} is for the method distil, and this is {method.name}; leave it out.")
        return load_checkpoint(self.paths[0]) if self.paths else None

    def _each(self, option: str, values: tuple[Value, ...]) -> Sequence[Value | None]:
        """A value for each of the files."""
        if len(values) > 1 and len(values) != len(self.paths):
            raise click.UsageError(
                f"{option} is given {len(values)} times for {len(self.paths)} teachers; give it once, or once for each."
            )
        return values if len(values) > 1 else (*values, None)[:1] * len(self.paths)
