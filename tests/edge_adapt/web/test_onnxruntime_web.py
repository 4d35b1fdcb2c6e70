"""Where ONNX Runtime Web comes from, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edge_adapt.runtime.errors import EdgeAdaptError, MissingDependencyError
from edge_adapt.web import onnxruntime_web as source
from edge_adapt.web.onnxruntime_web import FILES, VERSION, onnxruntime_web
from tests.browser import WEB


@contextmanager
def registry(monkeypatch: pytest.MonkeyPatch, body: bytes) -> Iterator[list[str]]:
    """An npm registry that answers everything with these bytes; what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Not in a test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}")
        yield asked
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; no test asks the real registry."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    return tmp_path / "cache" / "edge-adapt"


def test_a_folder_and_a_tarball_of_the_package_give_the_same_files(package: Path, tarball: Path) -> None:
    assert set(onnxruntime_web(package)) == set(FILES)
    assert onnxruntime_web(tarball) == onnxruntime_web(package)


def test_the_registry_is_asked_once_and_the_cache_from_then_on(
    tarball: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry(monkeypatch, tarball.read_bytes()) as asked:
        first = onnxruntime_web()
        assert onnxruntime_web() == first == onnxruntime_web(tarball)
    assert asked == [f"/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"]
    assert [path.name for path in cache.iterdir()] == [f"onnxruntime-web-{VERSION}.tgz"]


def test_what_a_registry_changed_is_neither_taken_nor_kept(
    tarball: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry(monkeypatch, tarball.read_bytes()[:-1] + b"x"), pytest.raises(EdgeAdaptError, match="SHA-512"):
        onnxruntime_web()
    assert not cache.exists()


def test_without_a_network_it_says_how_to_go_on() -> None:
    with pytest.raises(
        MissingDependencyError, match=r"cannot be downloaded .*npm pack onnxruntime-web@.*--onnxruntime-web"
    ):
        onnxruntime_web()


def test_a_registry_that_is_no_web_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(EdgeAdaptError, match="no http or https address"):
        onnxruntime_web()


def test_another_version_is_named(package: Path) -> None:
    (package / "package.json").write_text('{"version": "1.2.3"}')
    with pytest.raises(EdgeAdaptError, match=rf"is onnxruntime-web 1\.2\.3, and the page is tested with {VERSION}"):
        onnxruntime_web(package)


@pytest.mark.parametrize("missing", ["package.json", f"dist/{FILES[0]}"])
def test_what_is_not_the_package_is_named(package: Path, missing: str) -> None:
    (package / missing).unlink()
    with pytest.raises(EdgeAdaptError, match="is not the npm package onnxruntime-web"):
        onnxruntime_web(package)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(EdgeAdaptError, match=r"none\.tgz cannot be read"):
        onnxruntime_web(tmp_path / "none.tgz")


def test_the_page_is_built_and_tested_with_this_very_tarball() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text(encoding="utf-8"))
    pinned = lock["packages"]["node_modules/onnxruntime-web"]
    assert (pinned["version"], pinned["integrity"]) == (VERSION, f"sha512-{source.SHA512}")
