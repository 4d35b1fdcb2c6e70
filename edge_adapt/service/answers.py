"""The paths that say what is seen in images: /classify and /stream."""

from __future__ import annotations

import asyncio
import json
import math
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from edge_adapt.runtime.classifier.rejection import UNKNOWN_AT
from edge_adapt.runtime.errors import EdgeAdaptError
from edge_adapt.service import uploads
from edge_adapt.service.core import Service

_SEND_SECONDS = 20  # in which a client is to take an answer from a WebSocket


async def classify(service: Service, request: Request) -> Response:
    unknown_at = _unknown_at(request)
    if not uploads.is_form(request):
        image = await uploads.one_image(request)
        return JSONResponse(await service.on_a_thread(partial(service.answer, image, unknown_at)))
    images = await uploads.images(request)
    work = (service.on_a_thread(partial(service.answer_or_error, image, unknown_at)) for image in images)
    return JSONResponse({"answers": await asyncio.gather(*work)})


async def stream(service: Service, socket: WebSocket) -> None:
    await socket.accept("bearer" if "bearer" in socket.scope["subprotocols"] else None)
    try:
        unknown_at = _unknown_at(socket)
    except HTTPException as error:
        await socket.send_text(json.dumps({"error": error.detail}))
        await socket.close(1008)
        return
    try:
        while (message := await socket.receive())["type"] != "websocket.disconnect":
            said = {"error": "a frame is a binary message that holds an encoded image; send that."}
            if (data := message.get("bytes")) is not None:
                said = await service.on_a_thread(partial(_said_of_frame, service, data, unknown_at))
            await asyncio.wait_for(socket.send_text(json.dumps(said)), _SEND_SECONDS)
    except (WebSocketDisconnect, asyncio.TimeoutError):
        return


def _said_of_frame(service: Service, data: bytes, unknown_at: float) -> dict[str, Any]:
    try:
        return service.answer_or_error(uploads.image(data), unknown_at)
    except EdgeAdaptError as error:
        return {"error": str(error)}


def _unknown_at(request: HTTPConnection) -> float:
    given = uploads.query(request, "unknown_at")["unknown_at"]
    try:
        share = UNKNOWN_AT if given is None else float(given)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise HTTPException(400, "unknown_at is not a share; give a number from 0 to below 1.")
    return share
