"""What both WebSocket protocols share: the handshake, bounded messages, close codes."""

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
from .access import SUBPROTOCOL, is_allowed_origin, is_authenticated
from .scheduler import RecognitionFailed, Scheduler, ServerFull
from .settings import ServeSettings
from .streams import ClientStream, SlowConsumer

__all__ = ["Draining", "ProtocolError", "Server", "pcm16", "receive", "send", "serve_socket"]

log = logging.getLogger("streamasr.serving")

NORMAL, AWAY, POLICY, INTERNAL, TRY_LATER = 1000, 1001, 1008, 1011, 1013

CLOSE_SECONDS = 5.0
"""Timeout of the closing handshake, with the error message before it."""


class ProtocolError(StreamasrError):
    """A client sent a message that the protocol does not have."""


class Draining(StreamasrError):
    """The server is shutting down."""


@dataclass
class Server:
    """The state that all routes share. Used on the event loop."""

    scheduler: Scheduler
    settings: ServeSettings
    draining: bool = False
    open_sockets: int = 0
    """WebSockets that have yet to be flushed and closed."""
    _timeouts: set[asyncio.Timeout] = field(default_factory=set)

    @property
    def model_created(self) -> int:
        """When the model's weights were written, in seconds since 1970; 0 if nobody knows."""
        try:
            return int((self.scheduler.recognizer.bundle.folder / WEIGHTS).stat().st_mtime)
        except OSError:
            return 0

    def drain(self) -> None:
        """Begin to shut down: stop waiting for audio, and flush open streams."""
        self.draining = True
        for timeout in self._timeouts:
            if not timeout.expired():
                timeout.reschedule(0)

    @contextmanager
    def until_drained(self, timeout: asyncio.Timeout) -> Iterator[None]:
        """Let ``timeout`` expire at once when the server drains."""
        self._timeouts.add(timeout)
        if self.draining:
            timeout.reschedule(0)
        try:
            yield
        finally:
            self._timeouts.discard(timeout)

    def stream(self, protocol: str, sample_rate: int, *, plain: bool = False) -> ClientStream:
        """Open a live stream; raises ServerFull."""
        stream = ClientStream(self.scheduler, self.settings, sample_rate, live=True, plain=plain)
        self.scheduler.metrics.opened.labels(protocol).inc()
        return stream


Message = bytes | dict[str, Any]


async def receive(socket: WebSocket, server: Server) -> Message:
    """Return the next message, bytes or a JSON object.

    Raises ProtocolError for anything else, Draining when the server stops, TimeoutError when
    nothing comes for too long, and WebSocketDisconnect.
    """
    try:
        async with asyncio.timeout(server.settings.idle_seconds) as timeout:
            with server.until_drained(timeout):
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
    """Send a text message; raises SlowConsumer if the client does not read."""
    seconds = server.settings.idle_seconds
    try:
        async with asyncio.timeout(seconds):
            await socket.send_text(message)
    except TimeoutError:
        raise SlowConsumer(f"nothing was read for {seconds:g} s: the stream is closed") from None


def pcm16(data: bytes) -> NDArray[np.float32]:
    """Return samples ``(n,)`` of 16-bit little-endian PCM; raises ProtocolError."""
    if len(data) % 2:
        raise ProtocolError(f"{len(data)} bytes are no 16-bit samples: send an even number")
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


async def serve_socket(
    socket: WebSocket,
    server: Server,
    serve_client: Callable[[WebSocket, Server], Awaitable[None]],
    send_error: Callable[[WebSocket, str], Awaitable[None]],
) -> None:
    """Authenticate a client and serve it; on an error, send the reason before closing."""
    if not is_authenticated(socket, server.settings) or not is_allowed_origin(
        socket, server.settings
    ):
        server.scheduler.metrics.errors.labels("access").inc()
        await socket.close(POLICY)  # before it is accepted: HTTP 403
        return
    offered = [part.strip() for part in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept(subprotocol=SUBPROTOCOL if SUBPROTOCOL in offered else None)
    server.open_sockets += 1
    try:
        code, reason = await _outcome(socket, server, serve_client)
        async with asyncio.timeout(CLOSE_SECONDS):
            if reason:
                await send_error(socket, reason)
            # A close frame has room for 123 bytes.
            await socket.close(code, reason.encode()[:123].decode(errors="ignore"))
    except (RuntimeError, WebSocketDisconnect, TimeoutError):
        pass  # the client has left first, or does not read
    finally:
        server.open_sockets -= 1


async def _outcome(
    socket: WebSocket,
    server: Server,
    serve_client: Callable[[WebSocket, Server], Awaitable[None]],
) -> tuple[int, str]:
    """Serve a client; return the close code, and the reason if something went wrong."""
    code, reason, label = NORMAL, "", ""
    try:
        await serve_client(socket, server)
        code = AWAY if server.draining else NORMAL
    except WebSocketDisconnect:
        label = "disconnect"
    except ServerFull as error:
        code, reason, label = TRY_LATER, str(error), "full"
    except Draining as error:
        code, reason, label = AWAY, str(error), "draining"
    except TimeoutError:
        reason = f"no audio for {server.settings.idle_seconds:g} s: the stream is closed"
        code, label = POLICY, "idle"
    except StreamasrError as error:
        code, reason, label = POLICY, str(error), "protocol"
    except RecognitionFailed as error:  # counted and logged where it happened
        code, reason = INTERNAL, str(error)
    except Exception:
        log.exception("a stream failed")
        code, reason = INTERNAL, "the server failed, and its log says why: begin anew"
        label = "internal"
    if label:
        server.scheduler.metrics.errors.labels(label).inc()
    return code, reason
