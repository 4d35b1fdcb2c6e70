"""Every path of the HTTP interface with what answers it, and what becomes of errors."""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from edge_adapt.runtime.errors import DataError, EdgeAdaptError, ImageError
from edge_adapt.service import answers, edits, looks
from edge_adapt.service.core import BusyError, Service
from edge_adapt.service.guard import Access, Guard
from edge_adapt.service.openapi import PATHS
from edge_adapt.service.served import ChangedError

Handler = Callable[[Service, Request], Awaitable[Response]]

_OPEN = frozenset(("/health",))
"""Paths of the interface that need no token."""

_HANDLERS: dict[str, Handler] = {
    "/classify": answers.classify,
    "/classifier": looks.classifier,
    "/classifier.edge": looks.classifier_edge,
    "/classifier.task": looks.classifier_task,
    "/check": looks.check,
    "/log": looks.log,
    "/adapt": edits.adapt,
    "/add": edits.add,
    "/correct": edits.correct,
    "/remove": edits.remove,
    "/rename": edits.rename,
    "/merge": edits.merge,
    "/undo": edits.undo,
    "/redo": edits.redo,
    "/health": looks.health,
    "/metrics": looks.metrics,
    "/openapi.json": looks.openapi_json,
}


def application(service: Service, token: str | None, names: frozenset[str], page: Mapping[str, bytes]) -> Guard:
    """The interface to a service, for those who are let in.

    Args:
        service: what answers.
        token, names: see `Access`.
        page: the files of a page by their paths, `index.html` for /, which everybody may have: it asks for the token itself.
    """
    files = {f"/{path.removesuffix('index.html')}": _file(path, data) for path, data in page.items()}
    routes = [
        Route(path, partial(handler, service), methods=[method.upper() for method in PATHS[path]])
        for path, handler in _HANDLERS.items()
    ]
    handlers: dict[Any, Any] = {HTTPException: _refused, EdgeAdaptError: _failed}
    handlers |= {BusyError: _busy, MemoryError: _too_large, ClientDisconnect: _gone}
    routes += [Route(path, file) for path, file in files.items()]
    app = Starlette(
        routes=[*routes, WebSocketRoute("/stream", partial(answers.stream, service))],
        exception_handlers=handlers | {Exception: _broken},
    )

    def counted(path: str, status: int) -> None:
        service.metrics.requested(path if path in _HANDLERS else "other", status)

    access = Access(token, names, lambda path: path in _OPEN or path in files)
    return Guard(app, access, counted)


def _file(path: str, data: bytes) -> Callable[[Request], Awaitable[Response]]:
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"

    async def file(request: Request) -> Response:
        return Response(data, media_type=kind)

    return file


def _refused(request: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {
        "Not Found": "there is no such path; see /openapi.json.",
        "Method Not Allowed": "the path takes another method; see /openapi.json.",
    }
    return JSONResponse({"error": said.get(error.detail, error.detail)}, error.status_code, error.headers)


def _failed(request: Request, error: Exception) -> Response:
    status = 412 if isinstance(error, ChangedError) else 422 if isinstance(error, (DataError, ImageError)) else 503
    return JSONResponse({"error": str(error)}, status)


def _busy(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "many edits wait for their turn already; edit again later."}, 429)


def _too_large(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "there is not enough memory for this; send fewer or smaller images."}, 503)


def _gone(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "the body ended early; send all of it."}, 400)  # which nobody hears


def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "this is a fault of edge-adapt; its log says more."}, 500)
