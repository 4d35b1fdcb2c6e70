"""The service as a process: one port, one file, until a signal ends it."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import uvicorn

from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.runtime.images.images import UnreadImage
from edge_adapt.service.app import application
from edge_adapt.service.connections import Connection
from edge_adapt.service.core import Service
from edge_adapt.service.guard import MOST_BYTES, own_names

_LEAST_TOKEN = 16  # characters
_TOKEN_MARKS = "-._~"
_GRACE_SECONDS = 10  # for requests that are under way when the service is to end


@dataclass(frozen=True)
class Place:
    """Where the service is, for whom, and what it shows there.

    Attributes:
        host: the address to listen at.
        port: of TCP; 0 takes a free one.
        token: what a request has to bring; None where none is asked for, on loopback alone.
        names: that requests may call this machine by, beside its own.
        page: the files of the page by path; none where there is no page.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    names: tuple[str, ...] = ()
    page: Mapping[str, bytes] = field(default_factory=dict)


def serve(service: Service, place: Place, ready: Callable[[str], object], images: Iterable[UnreadImage] = ()) -> None:
    """Answer until SIGINT or SIGTERM.

    Args:
        service: what answers.
        place: where.
        ready: is given the URL, once requests are taken.
        images: that come by themselves, to be answered and published too.

    Raises:
        EdgeAdaptError: the address cannot be listened at or asks for a token, or the images end.
    """
    check_place(place)
    names = own_names() | {name.lower() for name in place.names}
    app = application(service, place.token, names, place.page)
    listening = _listening(place)
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="websockets-sansio",
        ws_max_size=MOST_BYTES // 4,
        ws_per_message_deflate=False,
        lifespan="off",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="error",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of what strangers send
    server = uvicorn.Server(config)
    failed: list[EdgeAdaptError] = []

    def watch() -> None:
        try:
            for image in images:
                service.answer_or_error(image)
        except EdgeAdaptError as error:
            failed.append(error)
            server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    host, port = listening.getsockname()[:2]
    ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    server.run(sockets=[listening])
    if failed:
        raise failed[0]


def check_place(place: Place) -> None:
    """Raise EdgeAdaptError where the token is too easily guessed, or is missing where others can come."""
    if place.token is not None:
        if len(place.token) < _LEAST_TOKEN or not all(
            character.isascii() and (character.isalnum() or character in _TOKEN_MARKS) for character in place.token
        ):
            raise EdgeAdaptError(
                f"the token is not {_LEAST_TOKEN} letters, digits and {_TOKEN_MARKS} or more; make one with "
                "`openssl rand -hex 32`."
            )
    elif not is_loopback(place.host):
        raise EdgeAdaptError(
            f"others can reach {place.host}, and so it asks for a token; give --token-file, with what `openssl rand -hex 32` "
            "prints, or set EDGE_ADAPT_TOKEN."
        )


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(place: Place) -> socket.socket:
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
        listening = socket.socket(found[0][0], socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[0][4])
        listening.listen()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise EdgeAdaptError(
            f"{place.host}, port {place.port}, cannot be listened at ({why}); choose another --host or --port."
        ) from error
    return listening
