"""Runs the commands of docs/a-year.md again, and writes what they print into it.

python -m tests.a_year
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "a-year.md"

_COMMAND = re.compile(r"^    \$ (.*)\n((?:    (?!\$ ).*\n|\n+(?=    (?!\$ )))*)", re.MULTILINE)
"""A command and what it printed, of which lines may be empty."""


def run_again(document: str, folder: Path) -> str:
    """The document with what its commands print now.

    A command is a line that is indented by four blanks and begins with `$ `; what follows, indented likewise, is what it printed.
    All run one after another in a folder that has the checkout's `samples`.

    Args:
        document: Markdown.
        folder: an empty one.
    """
    (folder / "samples").symlink_to(ROOT / "samples")
    (folder / "bin").mkdir()
    command = folder / "bin" / "edge-adapt"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_adapt "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    path = os.pathsep.join((str(command.parent), os.environ["PATH"]))
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return _COMMAND.sub(lambda found: f"    $ {found[1]}\n{_printed(found[1], folder, environment)}", document)


def _printed(command: str, folder: Path, environment: dict[str, str]) -> str:
    run = subprocess.run(
        ["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    said = [*run.stdout.splitlines(), *(line for line in run.stderr.splitlines() if line.startswith("Error: "))]
    return "".join(f"    {line}".rstrip() + "\n" for line in said)


def stable(document: str) -> str:
    """What is the same on every machine: all but numbers, and the blanks that align them."""
    return re.sub(r" +", " ", re.sub(r"\d[\d.,]*", "#", document))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        DOCUMENT.write_text(run_again(DOCUMENT.read_text(encoding="utf-8"), Path(folder)), encoding="utf-8")
