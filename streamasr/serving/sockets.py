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

from ..acoustic.model.bundle import WEIGHTS
from ..errors import StreamasrError
from .access import SUBPROTOCOL, may_enter, may_open
from .scheduler import Failed, Full, Scheduler
from .settings import ServeSettings
from .streams import CallerStream, SlowReader

__all__ = ["Draining", "ProtocolError", "Server", "pcm16", "receive", "send", "serve_socket"]

log = logging.getLogger("streamasr.serving")

NORMAL, AWAY, POLICY, INTERNAL, TRY_LATER = 1000, 1001, 1008, 1011, 1013

FAREWELL_SECONDS = 5.0
"""How long a client may take to read why its stream is closed."""


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
    talks: int = 0
    """WebSockets whose client has yet to be told all."""
    _patience: set[asyncio.Timeout] = field(default_factory=set)

    @property
    def model_created(self) -> int:
        """When the model's weights were written, in seconds since 1970; 0 if nobody knows."""
        try:
            return int((self.scheduler.recognizer.bundle.folder / WEIGHTS).stat().st_mtime)
        except OSError:
            return 0

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


async def send(socket: WebSocket, server: Server, message: str) -> None:
    """Send a text message; raises SlowReader if the client does not read."""
    seconds = server.settings.idle_seconds
    try:
        async with asyncio.timeout(seconds):
            await socket.send_text(message)
    except TimeoutError:
        raise SlowReader(f"nothing was read for {seconds:g} s: the stream is closed") from None


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
    if not may_enter(socket, server.settings) or not may_open(socket, server.settings):
        server.scheduler.metrics.errors.labels("access").inc()
        await socket.close(POLICY)  # before it is accepted: HTTP 403
        return
    offered = [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    server.talks += 1
    try:
        code, reason = await _outcome(socket, server, talk)
        async with asyncio.timeout(FAREWELL_SECONDS):
            if reason:
                await refuse(socket, reason)
            # A close frame has room for 123 bytes.
            await socket.close(code, reason.encode()[:123].decode(errors="ignore"))
    except (RuntimeError, WebSocketDisconnect, TimeoutError):
        pass  # the client has left first, or does not read
    finally:
        server.talks -= 1


async def _outcome(
    socket: WebSocket, server: Server, talk: Callable[[WebSocket, Server], Awaitable[None]]
) -> tuple[int, str]:
    """Run ``talk``; return the code to close with, and the reason if something went wrong."""
    code, reason, label = NORMAL, "", ""
    try:
        await talk(socket, server)
        code = AWAY if server.draining else NORMAL
    except WebSocketDisconnect:
        label = "disconnect"
    except Full as error:
        code, reason, label = TRY_LATER, str(error), "full"
    except Draining as error:
        code, reason, label = AWAY, str(error), "draining"
    except TimeoutError:
        reason = f"no audio for {server.settings.idle_seconds:g} s: the stream is closed"
        code, label = POLICY, "idle"
    except StreamasrError as error:
        code, reason, label = POLICY, str(error), "protocol"
    except Failed as error:  # counted and logged where it happened
        code, reason = INTERNAL, str(error)
    except Exception:
        log.exception("a stream failed")
        code, reason = INTERNAL, "the server failed, and its log says why: begin anew"
        label = "internal"
    if label:
        server.scheduler.metrics.errors.labels(label).inc()
    return code, reason
