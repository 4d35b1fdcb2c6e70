"""Edits of a file: by several processes at once, killed at any moment, on a full disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.editing import edit
from edge_adapt.runtime.errors import DataError, EdgeAdaptError
from edge_adapt.runtime.graphs import EmbeddedImage
from edge_adapt.runtime.model import load_classifier

posix = pytest.mark.skipif(os.name != "posix", reason="locks and signals are POSIX's")

EDITS = """
import sys
import numpy as np
from edge_adapt.runtime.editing import edit
from edge_adapt.runtime.graphs import EmbeddedImage

path, label, first, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
print("ready", flush=True)
for number in range(first, first + count):
    image = EmbeddedImage(f"{number}.png", f"{number:064x}", np.full(48, number % 7, np.float32))
    edit(path, lambda mine: mine.add_embedded(label, [image]), provider="cpu", threads=1)
    print(number, flush=True)
"""


def start(path: Path, label: str, first: int, count: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", EDITS, str(path), label, str(first), str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def path(classifier: Classifier, tmp_path: Path) -> Path:
    path = tmp_path / "mine.edge"
    classifier.save(path)
    return path


def numbers(path: Path, label: str) -> set[int]:
    return {int(image.sha256, 16) for image in load_classifier(path, "cpu").support.images if image.label == label}


@posix
@pytest.mark.parametrize("edits", [8, pytest.param(50, marks=pytest.mark.slow)])
def test_of_two_processes_none_loses_what_the_other_did(path: Path, edits: int) -> None:
    processes = [start(path, label, 1, edits) for label in ("new", "newer")]
    assert [process.wait() for process in processes] == [0, 0]
    assert numbers(path, "new") == numbers(path, "newer") == set(range(1, edits + 1))
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@posix
@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_at_any_moment_the_file_is_the_old_or_the_new_one(path: Path, kills: int) -> None:
    random = np.random.default_rng(0)
    first = 1
    for _ in range(kills):
        process = start(path, "new", first, 10_000)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        time.sleep(random.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().split()
        process.wait()
        load_classifier(path, "cpu").graphs.bundle.verify()
        kept = numbers(path, "new")
        said = {int(line) for line in lines if line.strip().isdecimal()}
        assert said <= kept <= said | {max(said, default=0) + 1} | set(range(1, first))
        first = max(kept) + 1
    edit(path, lambda mine: mine.rename("new", "other"), provider="cpu")
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_full_disk_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgeAdaptError, match="the disk is full; free some space"):
        edit(path, lambda mine: mine.rename("a", "x"), provider="cpu")
    assert path.read_bytes() == before and [file.name for file in path.parent.iterdir()] == [path.name]


FILLING = """
import sys
from pathlib import Path
from edge_adapt.runtime.editing import edit
from edge_adapt.runtime.errors import EdgeAdaptError

path = Path(sys.argv[1])
before = path.read_bytes()
if len(sys.argv) > 2:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    edit(path, lambda mine: mine.rename("a", "x"), provider="cpu", threads=1)
except EdgeAdaptError as error:
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
    print(error)
"""


@posix
def test_where_a_file_may_not_grow_so_long_the_old_one_stays(path: Path) -> None:
    size = path.stat().st_size
    for limit in (1, size - 1):
        run = subprocess.run(
            [sys.executable, "-c", FILLING, str(path), str(limit)], capture_output=True, text=True, check=False
        )
        assert "mine.edge could not be saved because File too large" in run.stdout, run.stderr
    load_classifier(path, "cpu").graphs.bundle.verify()


@posix
@pytest.mark.slow
def test_a_disk_that_is_full_indeed_leaves_the_old_file(path: Path, tmp_path: Path) -> None:
    """A small one, in memory: it holds the file once, and not twice."""
    disk, pages = tmp_path / "disk", -(-path.stat().st_size // 4096) + 2
    disk.mkdir()
    script = 'mount -t tmpfs -o size="$1" none "$2" && cp "$3" "$2" && echo mounted && exec "$4" -c "$5" "$2/mine.edge"'
    within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
    try:
        run = subprocess.run(
            [*within, str(4096 * pages), disk, path, sys.executable, FILLING],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if "mounted" not in run.stdout:
        pytest.skip(f"nothing can be mounted here: {run.stderr.strip()}")
    assert "mine.edge could not be saved because the disk is full; free some space" in run.stdout, run.stderr


def test_an_edit_that_fails_leaves_the_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(DataError, match="there is no class"):
        edit(path, lambda mine: mine.remove("x"))
    assert path.read_bytes() == before
    with pytest.raises(EdgeAdaptError, match="cannot be opened"):
        edit(path.parent / "missing.edge", lambda mine: mine.undo())


def test_with_an_output_the_original_stays(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    changed = edit(path, lambda mine: mine.rename("a", "x"), tmp_path / "new.edge", "cpu")
    assert path.read_bytes() == before
    assert load_classifier(tmp_path / "new.edge").labels == changed.labels == ("b", "c", "x")


def test_only_the_last_edits_are_kept(path: Path, tmp_path: Path) -> None:
    mine = load_classifier(path, "cpu")
    image = EmbeddedImage("x.png", "f" * 64, np.zeros(48, np.float32))
    mine = mine.add_embedded("d", [image])
    for _ in range(105):
        mine = mine.rename("a", "z").rename("z", "a")
    assert len(mine.history.edits) == mine.history.done == 200
    mine.save(tmp_path / "much.edge")
    assert len(load_classifier(tmp_path / "much.edge").history.edits) == 200
