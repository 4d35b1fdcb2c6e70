"""A camera that a test plays, and a video file where OpenCV is installed."""

from __future__ import annotations

import sys
import time
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError
from edge_adapt.runtime.images.images import load_image
from edge_adapt.runtime.streams.camera import camera_frames, pictures
from tests.encoded_images import Pixels, random_pixels

RATE = 0.03


class Cameras:
    """The module `cv2`, as far as it is used: one camera, number 0, which shows 100 frames in BGR, one each `RATE` seconds."""

    CAP_PROP_BUFFERSIZE = 38

    def __init__(self) -> None:
        self.frames = random_pixels((100, 4, 5, 3))
        self.now, self.grabbed, self.released = 0.0, 0, False

    def VideoCapture(self, source: int) -> Any:  # noqa: N802  (OpenCV's name)
        return SimpleNamespace(
            isOpened=lambda: source == 0, set=lambda key, value: True, grab=self._grab, retrieve=self._retrieve,
            release=lambda: setattr(self, "released", True),
        )  # fmt: skip

    def _grab(self) -> bool:
        self.now += RATE
        self.grabbed += 1
        return self.grabbed <= len(self.frames)

    def _retrieve(self) -> tuple[bool, Pixels]:
        return True, self.frames[self.grabbed - 1]


@pytest.fixture
def cameras(monkeypatch: pytest.MonkeyPatch) -> Cameras:
    cameras = Cameras()
    monkeypatch.setitem(sys.modules, "cv2", cameras)
    monkeypatch.setattr(time, "monotonic", lambda: cameras.now)
    return cameras


def test_frames_are_rgb_and_numbered(cameras: Cameras) -> None:
    images = list(islice(camera_frames(0, 0), 3))
    assert [image.name for image in images] == ["frame 1", "frame 2", "frame 3"]
    for image, bgr in zip(images, cameras.frames, strict=False):
        np.testing.assert_array_equal(np.asarray(image.load().image), bgr[:, :, ::-1])


def test_what_is_seen_between_is_dropped(cameras: Cameras) -> None:
    seen = [cameras.now for _ in islice(pictures(0, 0.5), 5)]
    gaps = np.diff(seen)
    assert (gaps >= 0.5 - 1e-9).all() and (gaps <= 0.5 + 2 * RATE).all()


def test_the_camera_is_released_whatever_happens(cameras: Cameras) -> None:
    coming = pictures(0, 0)
    next(coming)
    coming.close()  # type: ignore[attr-defined]
    assert cameras.released
    cameras.released = False
    with pytest.raises(EdgeAdaptError, match="gives no more frames"):
        list(pictures(0, 0))
    assert cameras.released


def test_a_camera_that_is_not_there(cameras: Cameras) -> None:
    with pytest.raises(EdgeAdaptError, match="camera 7 cannot be opened"):
        next(pictures(7, 0))
    assert cameras.released


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingDependencyError, match=r"edge-adapt\[camera\]"):
        next(camera_frames(0, 0))


def test_a_video_file(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    path = str(tmp_path / "video.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for _ in range(4):
        writer.write(np.full((48, 64, 3), (200, 60, 20), np.uint8))  # blue, as OpenCV sees it
    writer.release()
    for picture in islice(pictures(path, 0), 4):
        mean = np.asarray(load_image(picture).image).mean(axis=(0, 1))
        np.testing.assert_allclose(mean, (20, 60, 200), atol=8)
