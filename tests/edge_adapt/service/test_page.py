"""The page at /: its files are for everybody, what it asks for is not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from edge_adapt.runtime.model import load_model
from edge_adapt.service.app import application
from edge_adapt.service.core import Service
from edge_adapt.service.served import Served
from tests.conftest import TINY
from tests.served import TOKEN
from tests.tiny_model import photos

PAGE = {"index.html": b"<html>", "main.js": b"main()", "icons/icon.svg": b"<svg>"}


def test_the_page_needs_no_token_and_what_it_asks_for_does(tmp_path: Path) -> None:
    load_model(TINY, "cpu").adapt(photos({"a": 2, "b": 2})).save(tmp_path / "mine.edge")
    service = Service(Served(tmp_path / "mine.edge", "cpu"), lambda answer: None)
    app = application(service, TOKEN, frozenset(("localhost",)), PAGE)

    async def get(path: str, host: str = "localhost", **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
        sent = [(name.encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
        scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": sent}
        messages: list[dict[str, Any]] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            messages.append(message)

        await app(scope, receive, send)
        body = b"".join(message.get("body", b"") for message in messages)
        return messages[0]["status"], dict(messages[0]["headers"]), body

    def ask(*arguments: str, **headers: str) -> tuple[int, dict[bytes, bytes], bytes]:
        return asyncio.run(get(*arguments, **headers))

    for path, data, kind in (("/", b"<html>", b"text/html"), ("/main.js", b"main()", b"text/javascript"),
                             ("/icons/icon.svg", b"<svg>", b"image/svg+xml")):  # fmt: skip
        status, headers, body = ask(path)
        assert (status, body) == (200, data)
        assert headers[b"content-type"].startswith(kind) and b"frame-ancestors" in headers[b"content-security-policy"]
        assert ask(path, "evil.example")[0] == 421
    assert ask("/classifier")[0] == ask("/index.html")[0] == ask("/main.jsx")[0] == 401
    assert ask("/classifier", authorization=f"Bearer {TOKEN}")[0] == 200
