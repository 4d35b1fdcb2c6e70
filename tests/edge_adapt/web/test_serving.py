"""A site on the loopback address."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator

import pytest

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.web.serving import content_type, server_of

FILES = {"index.html": b"<!doctype html>", "ort/a.mjs": b"export {}", "ort/a.wasm": b"\0asm"}


@pytest.fixture
def port() -> Iterator[int]:
    with server_of(FILES, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def asked(port: int, path: str, host: str = "localhost", method: str = "GET") -> tuple[int, str | None, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, headers={"Host": f"{host}:{port}"})
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type"), answer.read()


def test_files_are_given_with_their_types(port: int) -> None:
    assert asked(port, "/") == (200, "text/html", FILES["index.html"])
    assert asked(port, "/ort/a.mjs?x=1") == (200, "text/javascript", FILES["ort/a.mjs"])
    assert asked(port, "/ort/a.wasm") == (200, "application/wasm", FILES["ort/a.wasm"])
    assert asked(port, "/", method="HEAD") == (200, "text/html", b"")


@pytest.mark.parametrize("path", ["/none", "/../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd"])
def test_nothing_else_is_given(port: int, path: str) -> None:
    assert asked(port, path)[0] == 404


def test_a_name_that_was_made_to_lead_here_is_told_nothing(port: int) -> None:
    assert asked(port, "/", host="evil.example")[0] == 404


def test_a_port_that_is_taken_is_named(port: int) -> None:
    with pytest.raises(EdgeAdaptError, match=rf"port {port} cannot be opened .*--port"):
        server_of(FILES, port)


def test_types_do_not_depend_on_the_system() -> None:
    assert content_type("site.webmanifest") == "application/manifest+json"
    assert content_type("model.edge") == "application/octet-stream"
    assert content_type("ort/LICENSE") == "application/octet-stream"
