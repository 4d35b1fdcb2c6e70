"""Who may ask for what, and how much of it: in front of every request, before its body is read."""

from __future__ import annotations

import hmac
import ipaddress
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 32 * 1024 * 1024
"""Of the body of a request, and of a frame on a WebSocket a quarter of it."""

_MOST_BYTES_AT_ONCE = 4 * MOST_BYTES  # of the bodies of all requests
_MOST_REQUESTS = 64  # that are under way
_MOST_STREAMS = 16
_MOST_A_SECOND = 1000  # requests of one client
_GUESS = 100  # so many requests a wrong token counts as
_READS = ("GET", "HEAD", "OPTIONS")
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-cache"),
]


@dataclass(frozen=True)
class Access:
    """Who is let in.

    Attributes:
        token: what a request has to bring; None where none is asked for.
        names: of this machine, beside its addresses, which a request may call it by.
        is_open: whether a path is for everybody.
    """

    token: str | None
    names: frozenset[str]
    is_open: Callable[[str], bool]


def own_names() -> frozenset[str]:
    """What others on the network call this machine."""
    name = socket.gethostname().lower()
    return frozenset(("localhost", name, f"{name}.local"))


class Guard:
    """An application behind these rules; what it refuses, the application never sees.

    Args:
        app: the application.
        access: who is let in.
        counted: is told the path and the status of every answer.
    """

    def __init__(self, app: ASGIApp, access: Access, counted: Callable[[str, int], None]) -> None:
        self._app = app
        self._access = access
        self._counted = counted
        self._second = 0
        self._asked: Counter[str] = Counter()  # by each client in this second
        self._under_way: Counter[str] = Counter()  # by kind of scope
        self._bytes = 0  # of the bodies that are held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind: str = scope["type"]
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None and kind == "websocket":
            await send({"type": "websocket.close"})  # before it is accepted: status 403
            return
        if refusal is not None:
            status, why = refusal
            # What is small is read to its end, or who sends it would see a broken connection instead of the answer.
            headers = {413: {"connection": "close"}, 401: {"www-authenticate": "Bearer"}}.get(status)
            await JSONResponse({"error": why}, status, headers)(scope, receive, self._answering(scope, send))
            return
        self._under_way[kind] += 1
        try:
            with self._bounded(receive) as bounded:
                await self._app(scope, bounded if kind == "http" else receive, self._answering(scope, send))
        finally:
            self._under_way[kind] -= 1

    def _answering(self, scope: Scope, send: Send) -> Send:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counted(scope["path"], message["status"])
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        return sent

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """The status and the sentence with which a request is refused; None where it is not."""
        headers, is_stream = Headers(scope=scope), scope["type"] == "websocket"
        host = headers.get("host", "")
        if not self._is_own(host):
            return 421, f"this is not {_host(host)[:100]!r}; ask by address, or start it with --name NAME."
        client = (scope.get("client") or ("",))[0]
        if not self._takes(client, 1):
            return 429, f"more than {_MOST_A_SECOND} requests in a second; ask again in the next."
        origin = headers.get("origin")
        if origin is not None and (is_stream or scope["method"] not in _READS) and not _is_same(origin, host):
            return 403, "pages of other origins are not served; ask from a page of this one."
        if not self._access.is_open(scope["path"]) and not self._knows(headers):
            self._takes(client, _GUESS)
            return 401, "the token is missing or wrong; send Authorization: Bearer TOKEN."
        if not is_stream and not _fits(headers.get("content-length", "0")):
            return 413, f"more than {MOST_BYTES >> 20} MiB in one request; send less."
        most = _MOST_STREAMS if is_stream else _MOST_REQUESTS
        if self._under_way[scope["type"]] >= most:
            return 429, f"{most} are under way already; ask again later."
        return None

    def _is_own(self, host: str) -> bool:
        """Whether a Host header is no name that a stranger has pointed here: an address is none."""
        name = _host(host)
        if name.lower() in self._access.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _takes(self, client: str, requests: int) -> bool:
        """Count requests of a client; False where it has asked for too many in this second."""
        second = int(time.monotonic())
        if second != self._second:
            self._second = second
            self._asked.clear()
        self._asked[client] += requests
        return self._asked[client] <= _MOST_A_SECOND

    def _knows(self, headers: Headers) -> bool:
        token = self._access.token
        if token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        offered = [part.strip() for part in headers.get("sec-websocket-protocol", "").split(",")]
        if scheme.lower() != "bearer":
            given = offered[1] if len(offered) == 2 and offered[0] == "bearer" else ""
        return hmac.compare_digest(given.strip().encode(), token.encode())

    @contextmanager
    def _bounded(self, receive: Receive) -> Iterator[Receive]:
        """What receives a body of so many bytes at most, beside all others."""
        held = 0

        async def bounded() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            held += size
            self._bytes += size
            if held > MOST_BYTES:
                raise _closing(413, f"more than {MOST_BYTES >> 20} MiB in one request; send less.")
            if self._bytes > _MOST_BYTES_AT_ONCE:
                raise _closing(429, "too much is being sent at once; send it again later.")
            return message

        try:
            yield bounded
        finally:
            self._bytes -= held


def _closing(status: int, why: str) -> HTTPException:
    return HTTPException(status, why, {"connection": "close"})


def _host(header: str) -> str:
    """The name or the address in a Host header, without the port."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]


def _is_same(origin: str, host: str) -> bool:
    """Whether an Origin header is that of a page from here; a proxy may have ended its TLS."""
    return origin.lower() in (f"http://{host}".lower(), f"https://{host}".lower())


def _fits(length: str) -> bool:
    return length.isascii() and length.isdecimal() and len(length) < 20 and int(length) <= MOST_BYTES
