"""What `classify` takes beside files: frames on standard input, files that come into a folder, a camera."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from io import BufferedReader

    from edge_adapt.runtime.images.images import UnreadImage
    from edge_adapt.runtime.streams.vote import Vote

Command = TypeVar("Command", bound=Callable[..., Any])

STANDARD_INPUT = "-"
EVERY_SECONDS = 0.5


def _frames(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None:
        from edge_adapt.runtime.errors import EdgeAdaptError
        from edge_adapt.runtime.streams.frames import raw_or_jpegs

        try:
            raw_or_jpegs(value)
        except EdgeAdaptError as error:
            raise click.BadParameter(str(error)) from error
    return value


def _vote(ctx: click.Context, param: click.Parameter, value: str | None) -> Vote | None:
    if value is None:
        return None
    from edge_adapt.runtime.streams.vote import Vote

    match = re.fullmatch(r"(\d{1,4})/(\d{1,4})", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"{value!r} is no vote; take K/N with K of 1 to N, such as 3/5.")
    return Vote(int(match[1]), int(match[2]))


_WATCH = click.option(
    "--watch",
    type=click.Path(),
    metavar="FOLDER",
    help="Classify each image that comes into FOLDER from now on, once it is written; Ctrl-C or SIGTERM ends it.",
)
_CAMERA = click.option(
    "--camera",
    is_flag=False,
    flag_value=0,
    type=click.IntRange(min=0),
    metavar="[N]",
    help="Classify what a camera sees, the first one or that of number N; Ctrl-C or SIGTERM ends it.",
)
_EVERY = click.option(
    "--every",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    show_default=str(EVERY_SECONDS),
    help="Of --camera: the time between frames, at least.",
)


def takes_images_that_come(command: Command) -> Command:
    """Give a command the options `--watch`, `--camera` and `--every`."""
    return _WATCH(_CAMERA(_EVERY(command)))


def takes_live_images(command: Command) -> Command:
    """Give a command the options `--frames`, `--watch`, `--camera`, `--every` and `--vote`."""
    frames = click.option(
        "--frames",
        callback=_frames,
        metavar="FORMAT",
        help="Standard input is a stream of frames: raw:WxH (RGB, 8 bits; raw:WxH:bgr and raw:WxH:gray too), or mjpeg.",
    )
    vote = click.option(
        "--vote",
        callback=_vote,
        metavar="K/N",
        help="Of images as they come: say a label only when K of the last N answers agree on it, and only when it changes.",
    )
    return frames(takes_images_that_come(vote(command)))


def check_usage(
    images: tuple[str, ...],
    frames: str | None,
    watch: str | None,
    camera: int | None,
    every: float | None,
    vote: object,
) -> None:
    """Raise click's UsageError unless there is one thing to classify, and options that say something of it."""
    live = check_images_that_come(frames, watch, camera, every)
    if not live and not images:
        raise click.UsageError("give an IMAGE_OR_FOLDER, or --frames, --watch or --camera.")
    if live and images and not (frames and images == (STANDARD_INPUT,)):
        raise click.UsageError(f"{live[0]} takes no IMAGE_OR_FOLDER.")
    if vote is not None and not live:
        raise click.UsageError("--vote is for --frames, --watch and --camera.")


def check_images_that_come(frames: str | None, watch: str | None, camera: int | None, every: float | None) -> list[str]:
    """The option that says where images come from, if there is one; raises click's UsageError where there are several."""
    live = [
        name for name, value in (("--frames", frames), ("--watch", watch), ("--camera", camera)) if value is not None
    ]
    if len(live) > 1:
        raise click.UsageError(f"{' and '.join(live)} exclude each other.")
    if every is not None and camera is None:
        raise click.UsageError("--every is for --camera.")
    return live


def live_images(
    frames: str | None, watch: str | None, camera: int | None, every: float | None
) -> Iterator[UnreadImage] | None:
    """The images of a stream, a folder or a camera, each as it comes; None where there is none of them."""
    if frames is not None:
        from edge_adapt.runtime.streams import frames as of_stream

        return of_stream.frames(frames, standard_input())
    if watch is not None:
        from edge_adapt.runtime.streams.watch import Watch

        watched = Watch(watch)
        click.echo(f"Watching {watch}; Ctrl-C ends it.", err=True)
        return watched.images()
    if camera is not None:
        from edge_adapt.runtime.streams.camera import camera_frames

        return camera_frames(camera, EVERY_SECONDS if every is None else every)
    return None


def standard_input() -> BufferedReader:
    """Standard input, for bytes."""
    from edge_adapt.runtime.errors import EdgeAdaptError

    if sys.stdin is None:  # closed by whoever started this
        raise EdgeAdaptError("there is no standard input; pass one, or name a file.")
    stream: BufferedReader = sys.stdin.buffer  # type: ignore[assignment]
    return stream


@contextmanager
def ended_by_signals(wanted: bool) -> Iterator[None]:
    """Where wanted, SIGINT and SIGTERM end what is done inside with status 0: it has no other end."""
    if not wanted:
        yield
        return
    import signal

    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
