"""What both WebSocket protocols share: entering, messages within bounds, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from ..errors import StreamasrError
from .access import SUBPROTOCOL, may_enter, may_open
from .scheduler import Full, Scheduler
from .settings import ServeSettings
from .streams import CallerStream, SlowReader

__all__ = ["Draining", "ProtocolError", "Server", "pcm16", "serve_socket"]

log = logging.getLogger("streamasr.serving")

POLICY, TOO_BIG, INTERNAL, TRY_LATER, AWAY = 1008, 1009, 1011, 1013, 1001


class ProtocolError(StreamasrError):
    """A client sent what the protocol does not have."""


class Draining(StreamasrError):
    """The server is going away."""


@dataclass
class Server:
    """What the routes work with. Used on the event loop."""

    scheduler: Scheduler
    settings: ServeSettings
    draining: bool = False
    _patience: set[asyncio.Timeout] = field(default_factory=set)

    def drain(self) -> None:
        """Stop: nobody is waited for any more, and open streams are told their last words."""
        self.draining = True
        for patience in self._patience:
            if not patience.expired():
                patience.reschedule(0)

    @contextmanager
    def waiting(self, patience: asyncio.Timeout) -> Iterator[None]:
        """Wait for a client, until ``drain`` is called."""
        self._patience.add(patience)
        if self.draining:
            patience.reschedule(0)
        try:
            yield
        finally:
            self._patience.discard(patience)

    def stream(self, protocol: str, sample_rate: int) -> CallerStream:
        """Open a live stream; raises Full."""
        stream = CallerStream(self.scheduler, self.settings, sample_rate, live=True)
        self.scheduler.metrics.opened.labels(protocol).inc()
        return stream


Message = bytes | dict[str, Any]


async def receive(socket: WebSocket, server: Server) -> Message:
    """Return the next message, bytes or a JSON object.

    Raises ProtocolError for anything else, Draining when the server stops, TimeoutError when
    nothing comes for too long, and WebSocketDisconnect.
    """
    try:
        async with asyncio.timeout(server.settings.idle_seconds) as patience:
            with server.waiting(patience):
                message = await socket.receive()
    except TimeoutError:
        if server.draining:
            raise Draining("the server is stopping") from None
        raise
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    data: bytes | None = message.get("bytes")
    if data is not None:
        return data
    try:
        value = json.loads(message.get("text") or "")
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a text message must be one JSON object") from error
    if not isinstance(value, dict):
        raise ProtocolError("a text message must be one JSON object")
    return value


def pcm16(data: bytes) -> NDArray[np.float32]:
    """Return samples ``(n,)`` of 16-bit little-endian PCM; raises ProtocolError."""
    if len(data) % 2:
        raise ProtocolError(f"{len(data)} bytes are no 16-bit samples: send an even number")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


async def serve_socket(
    socket: WebSocket,
    server: Server,
    talk: Callable[[WebSocket, Server], Awaitable[None]],
    refuse: Callable[[WebSocket, str], Awaitable[None]],
) -> None:
    """Let a client in, if it may, and run ``talk``; what goes wrong is told by ``refuse``."""
    offered = [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]
    settings, errors = server.settings, server.scheduler.metrics.errors
    if not may_enter(socket, settings) or not may_open(socket, settings):
        errors.labels("access").inc()
        await socket.close(POLICY)  # before it is accepted: HTTP 403
        return
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    code, reason, label = 1000, "", ""
    try:
        await talk(socket, server)
    except WebSocketDisconnect:
        errors.labels("disconnect").inc()
        return
    except Full as error:
        code, reason, label = TRY_LATER, str(error), "full"
    except Draining as error:
        code, reason, label = AWAY, str(error), "draining"
    except TimeoutError:
        reason = f"no audio for {settings.idle_seconds:g} s: the stream is closed"
        code, label = POLICY, "idle"
    except (ProtocolError, SlowReader, StreamasrError) as error:
        code, reason, label = POLICY, str(error), "protocol"
    except Exception:
        log.exception("a stream failed")
        code, reason, label = INTERNAL, "the server failed; its log says why", "internal"
    if label:
        errors.labels(label).inc()
    try:
        if reason:
            await refuse(socket, reason)
        await socket.close(code, reason[:120])
    except (RuntimeError, WebSocketDisconnect):
        pass  # the client has left first
