"""Folders lost or read-only while a command works, and memory that does not suffice: one sentence, and nothing else is lost."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.model import load_classifier
from tests.command_line import COLOURS, PROGRESS, complaint, edge_adapt, write_photos
from tests.conftest import TINY

linux = pytest.mark.skipif(sys.platform != "linux", reason="mounts and limits address space as Linux does")

OWN_WORDS = (r"Error: .*\.", "OpenBLAS error: .*", "cannot allocate memory for thread-local data: ABORT")
"""The last two are the libraries' own, as they end the process."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos", dict.fromkeys(COLOURS, 2))


@pytest.fixture
def lost(tmp_path: Path, mine: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a classifier, which is elsewhere as soon as something is saved there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(mine, folder / "mine.edge")
    save = Classifier.save

    def moved_and_saved(self: Classifier, path: Any) -> None:
        folder.rename(tmp_path / "elsewhere")
        save(self, path)

    monkeypatch.setattr(Classifier, "save", moved_and_saved)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="no folder is moved there whose file is open")
def test_a_folder_that_is_lost_while_a_command_works(lost: Path, photos: Path, mine: Path) -> None:
    said = complaint(edge_adapt("adapt", photos, "-o", lost / "new.edge", "--model", TINY))
    assert said == f"{lost / 'new.edge'} could not be saved because the folder {lost} does not exist; create it first."
    elsewhere = lost.with_name("elsewhere")
    elsewhere.rename(lost)
    said = complaint(
        edge_adapt("rename", lost / "mine.edge", "red", "scarlet")
    )  # it reads the graphs again to save them
    assert said.startswith(f"{lost / 'mine.edge'} ") and "does not exist" in said
    assert [path.name for path in elsewhere.iterdir()] == ["mine.edge"]
    assert (elsewhere / "mine.edge").read_bytes() == mine.read_bytes()


@linux
def test_a_place_that_is_read_only_indeed(mine: Path, photos: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        'mount -t tmpfs none "$1" && cp "$2" "$1/mine.edge" && mount -o remount,ro "$1" && echo mounted; shift 2; '
        'for arguments in "$@"; do "$0" -m edge_adapt $arguments; echo "status $?"; done'
    )
    commands = [
        f"adapt {photos} -o {disk}/new.edge --model {TINY}",
        f"rename {disk}/mine.edge red scarlet",
        f"classify {disk}/mine.edge {photos}/red/0.png",
    ]
    within = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, sys.executable]
    try:
        run = subprocess.run([*within, disk, mine, *commands], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if "mounted" not in run.stdout:
        pytest.skip(f"nothing can be mounted here: {run.stderr.strip()}")
    assert re.findall(r"status \d+", run.stdout) == ["status 1", "status 1", "status 0"], run.stderr
    assert run.stderr.splitlines() == [
        f"Error: {disk}/{name} could not be saved because {disk} may not be written to; choose another folder."
        for name in ("new.edge", "mine.edge")
    ]


def limited(code: str, *arguments: object) -> tuple[int, list[str]]:
    """The command line in a process of its own, whose memory `code` limits first: its status, and what it says but progress."""
    program = f"import resource, sys\n{code}\nfrom edge_adapt.cli import main\nmain(prog_name='edge-adapt')"
    command = [sys.executable, "-c", program, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    return run.returncode, [line for line in run.stderr.splitlines() if not PROGRESS.match(line)]


def limit(most: str) -> str:
    """Bytes of address space, an expression in Python."""
    return f"resource.setrlimit(resource.RLIMIT_AS, ({most},) * 2); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))"


LOADED = f"""
import mmap, onnxruntime, edge_adapt
from edge_adapt.cli import adapt, classify
edge_adapt.load_classifier(sys.argv.pop(1), "cpu", 1)
in_use = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
{limit("in_use + 64 * 2**20")}
"""


@linux
@pytest.mark.parametrize("command", ["adapt", "classify"])
def test_too_little_memory_for_a_photo(command: str, mine: Path, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8000, 7000)).save(photos / "red" / "large.png")
    arguments: list[object] = ["classify", mine, photos / "red" / "large.png"]
    if command == "adapt":
        arguments = ["adapt", photos, "-o", tmp_path / "new.edge", "--model", TINY]
    status, said = limited(LOADED, mine, *arguments, "--threads", "1")
    assert status == 1 and re.fullmatch(r"Error: .* there is not enough memory for .*\.", "\n".join(said)), said
    assert not (tmp_path / "new.edge").exists()


@linux
@pytest.mark.slow
@pytest.mark.parametrize("command", ["adapt", "classify"])
def test_too_little_memory_from_the_start(command: str, mine: Path, photos: Path, tmp_path: Path) -> None:
    outcomes = []
    for megabytes in range(120, 480, 20):
        new = tmp_path / f"{megabytes}.edge"
        arguments: list[object] = ["classify", mine, photos]
        if command == "adapt":
            arguments = ["adapt", photos, "-o", new, "--model", TINY]
        status, said = limited(limit(f"{megabytes} * 2**20"), *arguments)
        outcomes.append((megabytes, status))
        if status:
            assert said and all(re.fullmatch("|".join(OWN_WORDS), line) for line in said), (megabytes, said)
            assert len(said) == 1 or command == "classify"  # which says it of each image
        assert not new.exists() or load_classifier(new).labels
    print(command, outcomes)
    assert outcomes[0][1] and not outcomes[-1][1]
