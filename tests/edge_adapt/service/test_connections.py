"""A connection that sends half a request, or reads no answer, is given up; one that is being answered is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

uvicorn = pytest.importorskip("uvicorn")

from edge_adapt.service import connections  # noqa: E402

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"


class Transport(asyncio.Transport):
    """Keeps what is written, and whether it was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.aborted = b"", False
        self.protocol: Any = None

    def write(self, data: Any) -> None:
        self.written += data

    def get_protocol(self) -> Any:
        return self.protocol

    def abort(self) -> None:
        self.aborted = True
        self.protocol.connection_lost(ConnectionResetError())

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.aborted = True


async def answer(scope: Any, receive: Any, send: Any) -> None:
    while scope["path"] == "/read" and (await receive()).get("more_body"):
        pass
    if scope["path"] == "/slow":
        await asyncio.sleep(0.5)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def aborted(monkeypatch: pytest.MonkeyPatch, *sent: bytes, reads: bool = True) -> bool:
    """Whether a connection is given up within twice the time that it has, which is a third of a second here."""
    monkeypatch.setattr(connections, "_SECONDS", 0.3)

    async def connect() -> bool:
        config = uvicorn.Config(answer, timeout_keep_alive=60)
        config.load()
        connection = connections.Connection(config, uvicorn.server.ServerState(), {})
        transport = Transport()
        transport.protocol = connection
        connection.connection_made(transport)
        for data in sent:
            if transport.aborted:
                break
            connection.data_received(data)
            if not reads:
                connection.pause_writing()
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.6)
        return transport.aborted

    return asyncio.run(connect())


@pytest.mark.parametrize(
    "sent", [(), (b"GET / HTTP/1.1\r\nHo",), (REQUEST, b"GET"), (b"G", b"E", b"T", b" ", b"/"), (BODY, b"x")]
)
def test_half_a_request_is_given_up(sent: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert aborted(monkeypatch, *sent)


@pytest.mark.parametrize(
    "sent", [(REQUEST,), (REQUEST, REQUEST), (REQUEST.replace(b"/ ", b"/slow "),), (BODY, b"123456789")]
)
def test_a_whole_one_is_not(sent: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not aborted(monkeypatch, *sent)


def test_who_reads_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    assert aborted(monkeypatch, REQUEST, reads=False)
