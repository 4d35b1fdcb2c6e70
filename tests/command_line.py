"""The command line as the tests call it, and folders of images for it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner, Result
from PIL import Image

from edge_adapt.cli import main
from edge_adapt.runtime.bundle.container import write_container

COLOURS = {"blå": (30, 60, 220), "green": (40, 190, 60), "red": (220, 30, 40), "yellow": (230, 210, 50)}
"""Classes that tests/data/tiny.edge tells apart from a single image: the mean colour is among its features."""

SMALL = [
    *("--grayscale", "--way", "4", "--meta-batch", "2", "--micro-batch", "1"),
    *("--no-bf16", "--steps", "2", "--device", "cpu"),
]
"""Options of `train` with which a run takes seconds."""

# Before click 8.2, standard error had to be asked for.
_SEPARATE: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
_RUNNER = CliRunner(**_SEPARATE)

PROGRESS = re.compile(r"(reading|classifying|measuring|embedding|evaluating|meta-training)\b.*:\s+\d+%")


def edge_adapt(*arguments: str | Path, stdin: bytes = b"") -> Result:
    """Run a command in this process; anything but an exit, a traceback for a user, is raised."""
    return _RUNNER.invoke(main, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)


def complaint(result: Result, status: int = 1) -> str:
    """The one sentence on standard error; the test fails unless there is exactly one, with that status."""
    assert result.exit_code == status, result.output
    lines = [line for line in result.stderr.splitlines() if line and not PROGRESS.match(line)]
    if status == 2:
        assert lines[0].startswith("Usage: edge-adapt"), lines
        lines = lines[2:]
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: "), lines
    assert lines[0].endswith("."), lines
    return lines[0].removeprefix("Error: ")


def succeeded(result: Result) -> str:
    """What a command printed; the test fails if it failed."""
    assert result.exit_code == 0, result.output
    return result.stdout


def write_photos(root: Path, counts: Mapping[str, int], seed: int = 0, size: tuple[int, int] = (20, 14)) -> Path:
    """A folder with so many noisy pictures of each of COLOURS; returns `root`."""
    random = np.random.default_rng(seed)
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for index in range(count):
            noise = random.normal(0, 25, (size[1], size[0], 3))
            pixels = np.clip(np.array(COLOURS[label]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{index}.png")
    return root


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def forge(source: Path, target: Path, entry: str, change: Callable[[bytes], bytes]) -> Path:
    """Copy a bundle with one entry changed, and with the SHA-256 of that entry made right, as a forger would."""
    with zipfile.ZipFile(source) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    data = change(entries[entry])
    assert data != entries[entry]
    old = sha256(entries[entry]).hexdigest().encode()
    entries = {name: content.replace(old, sha256(data).hexdigest().encode()) for name, content in entries.items()}
    entries[entry] = data
    with target.open("wb") as stream:
        write_container(stream, entries.items())
    return target


def json_lines(text: str) -> list[dict[str, object]]:
    """One JSON object a line."""
    return [json.loads(line) for line in text.splitlines()]
