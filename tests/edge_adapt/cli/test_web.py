"""The command `web`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from edge_adapt.web.onnxruntime_web import FILES, VERSION
from tests import command_line

TINY = Path(__file__).parents[2] / "data" / "tiny.edge"


def package(folder: Path) -> Path:
    """What passes for ONNX Runtime Web."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(f'{{"version": "{VERSION}"}}')
    for name in FILES:
        (folder / "dist" / name).write_text("")
    return folder


def test_it_writes_a_site_and_says_what(tmp_path: Path) -> None:
    options = ("-o", str(tmp_path / "site"), "--onnxruntime-web", str(package(tmp_path / "ort")))
    said = command_line.succeeded(command_line.edge_adapt("web", str(TINY), *options))
    assert re.match(r"Saved .*site: \d+ files, [\d.]+ [KM]B\.", said)
    assert (tmp_path / "site" / "index.html").exists()


def test_it_serves_at_once_until_it_is_interrupted(tmp_path: Path) -> None:
    options = ("--serve", "--port", "0", "--onnxruntime-web", str(package(tmp_path / "ort")))
    command = [sys.executable, "-u", "-m", "edge_adapt", "web", str(TINY), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().split()[1]
        with urllib.request.urlopen(f"{address}model.edge") as answer:
            assert answer.read() == TINY.read_bytes()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_it_wants_a_folder_or_to_serve() -> None:
    done = command_line.edge_adapt("web", str(TINY))
    assert done.exit_code == 2 and "-o SITE" in done.stderr
