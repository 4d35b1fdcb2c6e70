"""A real browser, for what only one can show: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

WEB = Path(__file__).parents[1] / "runtime" / "web"
NODE_MODULES = WEB / "node_modules"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")

needs_node_modules = pytest.mark.skipif(
    shutil.which("node") is None or not (NODE_MODULES / "onnxruntime-web").exists(),
    reason="Node or its packages are not here: run `npm ci --ignore-scripts` in runtime/web",
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not here: run `apt-get install chromium`")


@contextmanager
def chromium(playwright: Playwright, *options: str) -> Iterator[Browser]:
    """A browser without a window, closed at the end."""
    sandbox = [] if os.name != "posix" or os.geteuid() else ["--no-sandbox"]  # Chromium has none for root
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*sandbox, *options])
    try:
        yield browser
    finally:
        browser.close()


@contextmanager
def http_server(folder: Path) -> Iterator[str]:
    """`python -m http.server` of a folder; its address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().partition(" port ")[2].split()[0]
            address = f"http://localhost:{port}/"
            for _ in range(100):
                try:
                    urllib.request.urlopen(address).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield address
        finally:
            process.terminate()
