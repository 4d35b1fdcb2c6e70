"""`classify` of images as they come: standard input, frames, a watched folder, a camera; and votes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pytest
from PIL import Image

import edge_adapt
from tests.command_line import COLOURS, complaint, json_lines, succeeded
from tests.command_line import edge_adapt as command
from tests.encoded_images import encode

SIZE = (20, 14)


def picture(label: str) -> Image.Image:
    return Image.new("RGB", SIZE, COLOURS[label])


def jpeg(label: str) -> bytes:
    return encode(picture(label), "JPEG")


def rows(said: str) -> list[list[str]]:
    return [line.split("\t") for line in said.splitlines()]


# Standard input


def test_one_image_on_standard_input(mine: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg("green"))
    said = rows(succeeded(command("classify", mine, "-", tmp_path / "a.jpg", stdin=jpeg("red"))))
    assert [row[:2] for row in said] == [["-", "red"], [str(tmp_path / "a.jpg"), "green"]]


@pytest.mark.parametrize(
    ("data", "fault"), [(b"", "standard input is empty"), (b"text", "standard input is not an image")]
)
def test_standard_input_that_is_no_image(mine: Path, data: bytes, fault: str) -> None:
    assert fault in complaint(command("classify", mine, "-", stdin=data))


LABELS = ["red", "green", "green", "yellow"]


@pytest.mark.parametrize("given", [[], ["-"]])
@pytest.mark.parametrize("spelling", ["raw", "raw:bgr", "raw:gray", "mjpeg"])
def test_a_line_a_frame(mine: Path, spelling: str, given: list[str]) -> None:
    pictures = [picture(label) for label in LABELS]
    if spelling == "mjpeg":
        stream = b"".join(map(jpeg, LABELS))
    elif spelling == "raw:gray":
        pictures = [image.convert("L") for image in pictures]
        stream = b"".join(image.tobytes() for image in pictures)
    else:
        turn = -1 if spelling == "raw:bgr" else 1
        stream = b"".join(np.asarray(image)[:, :, ::turn].tobytes() for image in pictures)
    order = spelling.partition(":")[2]
    form = spelling if spelling == "mjpeg" else f"raw:{SIZE[0]}x{SIZE[1]}" + (f":{order}" if order else "")
    objects = json_lines(succeeded(command("classify", mine, *given, "--frames", form, "--json", stdin=stream)))
    assert [value["image"] for value in objects] == [f"frame {number}" for number in range(1, 5)]
    if spelling != "mjpeg":
        classifier = edge_adapt.load_classifier(mine)
        for value, image in zip(objects, pictures, strict=True):
            assert value["scores"] == pytest.approx(classifier.classify(image).scores, abs=1e-6)
    if spelling != "raw:gray":
        assert [value["label"] for value in objects] == LABELS
    said = rows(succeeded(command("classify", mine, "--frames", form, stdin=stream)))
    assert [row[:2] for row in said] == [[value["image"], value["label"]] for value in objects]


@pytest.mark.parametrize("form", ["raw:20x14", "mjpeg"])
def test_a_truncated_last_frame_is_named_by_its_number(mine: Path, form: str) -> None:
    frame = jpeg("red") if form == "mjpeg" else picture("red").tobytes()
    result = command("classify", mine, "--frames", form, stdin=frame * 2 + frame[:-9])
    assert [row[:2] for row in rows(result.stdout)] == [["frame 1", "red"], ["frame 2", "red"]]
    assert "frame 3 is cut short" in complaint(result)


def test_a_damaged_frame_is_named_and_passed_over(mine: Path) -> None:
    result = command("classify", mine, "--frames", "mjpeg", stdin=jpeg("red") + jpeg("red")[:-9] + jpeg("green"))
    assert "frame 2 cannot be decoded" in complaint(result)
    assert [row[:2] for row in rows(result.stdout)] == [["frame 1", "red"], ["frame 3", "green"]]


def test_only_what_agrees_and_changes_is_said(mine: Path) -> None:
    seen = ["red", "red", "green", "red", "red", "green", "green", "yellow", "green"]
    stream = b"".join(picture(label).tobytes() for label in seen)
    said = rows(succeeded(command("classify", mine, "--frames", "raw:20x14", "--vote", "3/5", stdin=stream)))
    assert [row[:2] for row in said] == [["frame 4", "red"], ["frame 7", "green"]]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give an IMAGE_OR_FOLDER, or --frames, --watch or --camera."),
        (["--frames", "mjpeg", "--camera"], "--frames and --camera exclude each other."),
        (["a.jpg", "--frames", "mjpeg"], "--frames takes no IMAGE_OR_FOLDER."),
        (["-", "--watch", "x"], "--watch takes no IMAGE_OR_FOLDER."),
        (["a.jpg", "--every", "1"], "--every is for --camera."),
        (["a.jpg", "--vote", "3/5"], "--vote is for --frames, --watch and --camera."),
        (["--camera", "--vote", "6/5"], "K/N"),
        (["--camera", "--vote", "0/5"], "K/N"),
        (["--camera", "--vote", "most"], "K/N"),
        (["--frames", "h264"], "raw:WxH"),
        (["a.jpg", "--json", "--csv"], "--json and --csv exclude each other."),
    ],
)
def test_what_does_not_go_together(mine: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in complaint(command("classify", mine, *arguments), status=2)


# Processes that go on


class Running:
    """`edge-adapt classify` in a process of its own, whose lines are there as it prints them."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_adapt", "classify", *map(str, arguments), "--provider", "cpu"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._timer = threading.Timer(120, self.process.kill)  # a line that never comes fails the test
        self._timer.start()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.process.kill()
        self.process.communicate()

    def line(self, stream: IO[bytes] | None = None) -> str:
        line = (stream or self.process.stdout).readline()  # type: ignore[union-attr]
        return str(line.decode().rstrip("\r\n"))

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode(), err.decode()


def test_each_frame_is_answered_before_the_next_one_comes(mine: Path) -> None:
    with Running(mine, "--frames", "mjpeg") as running:
        assert running.process.stdin
        for number, label in enumerate(("red", "green", "red"), 1):
            running.process.stdin.write(jpeg(label))
            running.process.stdin.flush()
            assert running.line().startswith(f"frame {number}\t{label}\t")
        assert running.end() == (0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no such signals")
@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_watched_folder(mine: Path, tmp_path: Path, number: signal.Signals) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "old.jpg").write_bytes(jpeg("yellow"))
    with Running(mine, "--watch", inbox, "--json") as running:
        assert running.line(running.process.stderr).startswith(f"Watching {inbox}")
        (tmp_path / "new").write_bytes(jpeg("red"))
        (tmp_path / "new").rename(inbox / "a.jpg")
        (value,) = json_lines(running.line())
        assert (value["image"], value["label"]) == (str(inbox / "a.jpg"), "red")
        with (inbox / "b.jpg").open("wb") as file:
            for byte in (jpeg("green")[:300], jpeg("green")[300:]):
                file.write(byte)
                file.flush()
                os.fsync(file.fileno())
                threading.Event().wait(0.5)
        assert json_lines(running.line())[0]["label"] == "green"
        (inbox / "c.jpg").write_bytes(b"no image")
        assert "c.jpg is not an image" in running.line(running.process.stderr)
        assert running.end(number) == (0, "", "")


def test_a_watched_folder_that_vanishes_is_an_error(mine: Path, tmp_path: Path) -> None:
    assert "not a folder" in complaint(command("classify", mine, "--watch", tmp_path / "nowhere"))
    (tmp_path / "inbox").mkdir()
    with Running(mine, "--watch", tmp_path / "inbox") as running:
        running.line(running.process.stderr)
        shutil.rmtree(tmp_path / "inbox")
        assert running.end() == (
            1,
            "",
            f"Error: {tmp_path / 'inbox'} has vanished, so there is nothing to watch any more.\n",
        )


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Filled with the frames that OpenCV's camera is to show, as RGB pictures; then Ctrl-C is typed."""
    shown: list[Any] = []

    def grab() -> bool:
        if not shown:
            signal.raise_signal(signal.SIGINT)
        return True

    def capture(number: int) -> SimpleNamespace:
        return SimpleNamespace(
            isOpened=lambda: number in (0, 2), set=lambda key, value: True, grab=grab, release=lambda: None,
            retrieve=lambda: (True, np.asarray(shown.pop(0))[:, :, ::-1]),
        )  # fmt: skip

    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(VideoCapture=capture, CAP_PROP_BUFFERSIZE=38))
    return shown


@pytest.mark.parametrize("option", [["--camera"], ["--camera", "2"]])
def test_what_a_camera_sees_until_it_is_interrupted(mine: Path, camera: list[Any], option: list[str]) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    camera += map(picture, LABELS)
    said = rows(succeeded(command("classify", mine, *option, "--every", "0")))
    assert [row[:2] for row in said] == [[f"frame {number}", label] for number, label in enumerate(LABELS, 1)]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.usefixtures("camera")
def test_a_camera_that_is_not_there_or_has_no_opencv(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "camera 1 cannot be opened" in complaint(command("classify", mine, "--camera", "1"))
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert 'pip install "edge-adapt[camera]"' in complaint(command("classify", mine, "--camera"))


# What one image costs


def test_one_image_imports_nothing_for_streams(mine: Path, tmp_path: Path) -> None:
    picture("red").save(tmp_path / "a.png")
    code = f"""
import sys
from edge_adapt.cli import main
try:
    main(["classify", {str(mine)!r}, {str(tmp_path / "a.png")!r}, "--provider", "cpu"])
except SystemExit as exit:
    assert exit.code == 0, exit.code
extra = [name for name in sys.modules if ".streams" in name or name in ("csv", "cv2", "pillow_heif")]
assert not extra, extra
"""
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
