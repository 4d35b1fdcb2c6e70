"""The paths that say what the file is: they change nothing, and a client that knows the state already is told so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from edge_adapt.runtime.classifier.check import check_support
from edge_adapt.runtime.classifier.classifier import Classifier
from edge_adapt.runtime.regressor.check import check_readings
from edge_adapt.service import uploads
from edge_adapt.service.core import Service
from edge_adapt.service.openapi import openapi
from edge_adapt.service.served import Snapshot
from edge_adapt.service.state import log_json, state_json

_BLOCK = 1 << 16


async def classifier(service: Service, request: Request) -> Response:
    return await _looked(service, request, lambda snapshot: state_json(snapshot.mine))


async def check(service: Service, request: Request) -> Response:
    return await _looked(service, request, _findings)


async def log(service: Service, request: Request) -> Response:
    return await _looked(service, request, lambda snapshot: log_json(snapshot.mine))


async def classifier_edge(service: Service, request: Request) -> Response:
    uploads.query(request)
    while True:
        snapshot = await service.on_a_thread(service.served.now)
        if has_etag(request.headers.get("if-none-match", ""), snapshot.etag):
            return _unchanged(snapshot)
        stream = service.served.open(snapshot)
        if stream is not None:  # and not replaced just now
            return StreamingResponse(_blocks(stream), headers=_file(snapshot, service.served.path.name))


async def classifier_task(service: Service, request: Request) -> Response:
    uploads.query(request)
    snapshot = await service.on_a_thread(service.served.now)
    if has_etag(request.headers.get("if-none-match", ""), snapshot.etag):
        return _unchanged(snapshot)
    task, snapshot = await service.on_a_thread(service.served.task)
    return Response(task, headers=_file(snapshot, f"{service.served.path.stem}.task"))


async def health(service: Service, request: Request) -> Response:
    await service.on_a_thread(service.served.now)
    return JSONResponse({"status": "ok"})


async def metrics(service: Service, request: Request) -> Response:
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def openapi_json(service: Service, request: Request) -> Response:
    return JSONResponse(openapi())


def has_etag(header: str, etag: str) -> bool:
    """Whether an If-Match or If-None-Match header names a state."""
    given = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in given or etag in given


async def _looked(service: Service, request: Request, see: Callable[[Snapshot], dict[str, Any]]) -> Response:
    uploads.query(request)
    snapshot = await service.on_a_thread(service.served.now)
    if has_etag(request.headers.get("if-none-match", ""), snapshot.etag):
        return _unchanged(snapshot)
    return JSONResponse(await service.on_a_thread(partial(see, snapshot)), headers={"etag": snapshot.etag})


def _findings(snapshot: Snapshot) -> dict[str, Any]:
    mine = snapshot.mine
    if isinstance(mine, Classifier):
        return {"findings": [asdict(finding) for finding in check_support(mine.graphs, mine.support, mine.steps)]}
    return {"findings": [asdict(finding) for finding in check_readings(mine)]}


def _unchanged(snapshot: Snapshot) -> Response:
    return Response(status_code=304, headers={"etag": snapshot.etag})


def _file(snapshot: Snapshot, name: str) -> dict[str, str]:
    return {
        "etag": snapshot.etag,
        "content-type": "application/octet-stream",
        "content-disposition": f"attachment; filename*=UTF-8''{quote(name)}",
    }


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while block := stream.read(_BLOCK):
            yield block
