"""Frames of a camera, through OpenCV."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError
from edge_adapt.runtime.images.images import NamedImage, UnreadImage, rgb
from edge_adapt.runtime.words import install


def camera_frames(source: int | str, every: float) -> Iterator[UnreadImage]:
    """What `pictures` gives, as images, "frame 1" the first."""
    for number, picture in enumerate(pictures(source, every), 1):
        yield NamedImage(f"frame {number}", picture, f"frame {number}")


def pictures(source: int | str, every: float) -> Iterator[NDArray[np.uint8]]:
    """What a camera sees, uint8 [H, W, 3] in RGB, until it gives no more.

    Args:
        source: the number of the camera, or what else OpenCV opens by its name: a network camera's URL, a video file.
        every: seconds between frames, at least; those between are dropped, so that each is of what is seen then.

    Raises:
        MissingDependencyError: OpenCV is not installed.
        EdgeAdaptError: the camera cannot be opened, or gives no more frames.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # of what fails it also prints warnings
    try:
        import cv2
    except ImportError as error:
        raise MissingDependencyError(
            f"a camera needs OpenCV, which is not installed; {install('camera')} brings it."
        ) from error
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            raise EdgeAdaptError(f"camera {source} cannot be opened; connect it, or end the program that uses it.")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # or several old frames come before the present one
        due = time.monotonic()
        while True:
            grabbed = capture.grab()
            while grabbed and time.monotonic() < due:
                grabbed = capture.grab()
            got, frame = capture.retrieve() if grabbed else (False, None)
            if not got:
                raise EdgeAdaptError(f"camera {source} gives no more frames; connect it again.")
            due = time.monotonic() + every
            yield rgb(frame)
    finally:
        capture.release()
