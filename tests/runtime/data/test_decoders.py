"""Processes that decode: they give what this process gives, and leave when it does."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_adapt.runtime.data import reading
from edge_adapt.runtime.data.dataset import load_dataset
from edge_adapt.runtime.data.decoders import Decoders, decode
from edge_adapt.runtime.images.preprocessing import Preprocessing
from tests.image_files import noise, write

GRAY = Preprocessing(6, 6, 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    tree = {f"{label}/{index:02d}.png": noise(index, (9, 9)) for label in "ab" for index in range(20)}
    return write(tmp_path / "photos", {**tree, "b/03.png": b"", "a/17.png": b"no image"})


def test_a_process_gives_what_this_one_gives(photos: Path) -> None:
    images: list[tuple[str, str | bytes]] = [
        ("first", str(photos / "a" / "00.png")),
        ("second", str(photos / "a" / "17.png")),
        ("third", (photos / "b" / "05.png").read_bytes()),
        ("fourth", b""),
    ]
    pixels, faults = decode(images, GRAY)
    with Decoders(2, GRAY) as decoders:
        for _ in range(3):
            there, faults_there = decoders.decode(images)
            np.testing.assert_array_equal(there, pixels)
            assert faults_there == faults
    assert pixels.shape == (2, 6, 6, 1) and list(faults) == [1, 3]
    assert faults[1].startswith("second is not an image") and faults[3].startswith("fourth is empty")


def test_a_data_set_read_by_processes_is_the_same(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_threads = load_dataset(photos, GRAY, skip_bad=True)
    monkeypatch.setattr(reading, "MANY", 0)
    monkeypatch.setattr(reading, "cores", lambda: 2)
    by_processes = load_dataset(photos, GRAY, skip_bad=True)
    np.testing.assert_array_equal(by_processes.images, by_threads.images)
    assert (by_processes.files, by_processes.skipped) == (by_threads.files, by_threads.skipped)


@pytest.mark.parametrize("spoil", ["killed", "frozen", "missing", "not python"])
def test_without_processes_images_are_decoded_here(spoil: str, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executable = {"missing": "", "not python": str(photos / "none")}.get(spoil, sys.executable)
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "frozen", spoil == "frozen", raising=False)
    images = [("image", str(photos / "a" / "00.png"))]
    with Decoders(2, GRAY) as decoders:
        for process in decoders._processes:
            process.kill()
            process.wait()
        for _ in range(4):
            np.testing.assert_array_equal(decoders.decode(images)[0], decode(images, GRAY)[0])
        assert bool(decoders._processes) == (spoil == "killed")


def lives(process: str) -> bool:
    """Whether there is a process of this number that has not ended."""
    try:
        state = Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="asks /proc whether a process lives")
def test_processes_end_with_the_one_that_they_work_for() -> None:
    code = """
import time
from edge_adapt.runtime.data.decoders import Decoders
from edge_adapt.runtime.images.preprocessing import Preprocessing
decoders = Decoders(2, Preprocessing(6, 6, 1))
print(*[process.pid for process in decoders._processes], flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = parent.stdout.readline().split()
        assert len(children) == 2
        parent.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while any(map(lives, children)) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(map(lives, children))
