"""Connections that do not wait for ever: of a client that sends part of a request, or reads no answer."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_SECONDS = 60
"""In which a request is to come, its body too, and in which something of an answer is to be read."""

_MOST = 256  # connections, those that have sent nothing among them


class Connection(H11Protocol):
    """uvicorn's, which by itself gives up only on who has been answered before and then says nothing."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._waiting: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST:
            transport.abort()
        self._waiting = self.loop.call_later(_SECONDS, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._waits():
            _stop(self._waiting)
            self._waiting = None
        elif self._waiting is None and self.timeout_keep_alive_task is None:
            self._waiting = self.loop.call_later(_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        _stop(self._waiting)
        _stop(self._unread)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        _stop(self._unread)
        super().resume_writing()

    def _waits(self) -> bool:
        """Whether the rest of a request is to come; a WebSocket is a protocol of its own."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            return False
        return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

    def _give_up(self) -> None:
        if self._waits():
            self.transport.abort()


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
