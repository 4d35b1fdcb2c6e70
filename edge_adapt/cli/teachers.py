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

OPTIONS = (
    click.option(
        "--teacher",
        "teachers",
        multiple=True,
        type=click.Path(),
        metavar="RUN|FILE",
        help="A run of pretrain on the same classes, whose answers pretrain distils, or the first stage of a recipe. "
        "For distil a bundle or an ONNX feature extractor, whose features it learns; may then be repeated.",
    ),
    click.option(
        "--teacher-crops",
        type=click.IntRange(min=1),
        show_default="4",
        metavar="K",
        help="How many crops of each image the teachers of distil see: all of it, all of it mirrored, and then parts. Their "
        "features are computed once, and kept.",
    ),
    click.option(
        "--teacher-share",
        type=click.FloatRange(0, 1, min_open=True),
        show_default="0.9",
        metavar="SHARE",
        help="Of the loss of distil, how much is about the teachers' features and not about classes.",
    ),
    click.option(
        "--teacher-normalize",
        multiple=True,
        type=click.Choice(["imagenet", "unit", "symmetric", "none"]),
        show_default="imagenet",
        help="What an ONNX file of --teacher that takes floats wants, as of wrap. Once for all teachers, or once for each.",
    ),
    click.option(
        "--teacher-image-size",
        multiple=True,
        type=click.IntRange(8, 2048),
        metavar="PIXELS",
        show_default="as the file says",
        help="Height and width of the images, where an ONNX file of --teacher leaves them open. Once for all, or for each.",
    ),
    click.option(
        "--teacher-output-name",
        multiple=True,
        metavar="TENSOR",
        show_default="the only output",
        help="The tensor with the features of an ONNX file of --teacher. Once for all teachers, or once for each.",
    ),
)


@dataclass(frozen=True)
class GivenTeachers:
    """What the options say.

    Attributes:
        teachers: of runs or files.
        teacher_normalize, teacher_image_size, teacher_output_name: for each of the files, or one for all of them.
    """

    teachers: tuple[str, ...]
    teacher_normalize: tuple[str, ...] = ()
    teacher_image_size: tuple[int, ...] = ()
    teacher_output_name: tuple[str, ...] = ()

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
                    self.teachers,
                    self._each("--teacher-normalize", self.teacher_normalize),
                    self._each("--teacher-image-size", self.teacher_image_size),
                    self._each("--teacher-output-name", self.teacher_output_name),
                    strict=True,
                )
            ]
        if len(self.teachers) > 1:
            raise click.UsageError(f"several teachers are for the method distil, and this is {method.name}; give one.")
        for option, values in (
            ("--teacher-normalize", self.teacher_normalize),
            ("--teacher-image-size", self.teacher_image_size),
            ("--teacher-output-name", self.teacher_output_name),
        ):
            if values:
                raise click.UsageError(f"{option} is for the method distil, and this is {method.name}; leave it out.")
        return load_checkpoint(self.teachers[0]) if self.teachers else None

    def _each(self, option: str, values: tuple[Value, ...]) -> Sequence[Value | None]:
        """A value for each of the files."""
        if len(values) > 1 and len(values) != len(self.teachers):
            raise click.UsageError(
                f"{option} is given {len(values)} times for {len(self.teachers)} teachers; give it once, or once for each."
            )
        return values if len(values) > 1 else (*values, None)[:1] * len(self.teachers)
