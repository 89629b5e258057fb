"""Our own protocol, ``/v1/stream``: audio in, the events of ``streamasr mic --jsonl`` out.

The client sends ``{"type": "start", "sample_rate": 48000, "format": "pcm_s16le"}``, then binary
messages of mono samples in that format (``pcm_s16le`` or ``pcm_f32le``), then ``{"type": "end"}``.
The server sends one JSON object a message: events (``event.schema.json``), ``{"type": "error",
"message": …}`` before it closes for a reason, and ``{"type": "done"}`` after the last event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket

from .problems import reason_of
from .sockets import Draining, ProtocolError, Server, pcm16, receive, send
from .streams import ClientStream

__all__ = ["send_error", "serve_client"]


class Start(BaseModel):
    """The first message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["start"]
    sample_rate: int = Field(16_000, ge=4_000, le=192_000)
    format: Literal["pcm_s16le", "pcm_f32le"] = "pcm_s16le"


def _pcm32(data: bytes) -> NDArray[np.float32]:
    if len(data) % 4:
        raise ProtocolError(f"{len(data)} bytes are no 32-bit samples: send a multiple of 4")
    return np.frombuffer(data, "<f4").astype(np.float32)


async def send_error(socket: WebSocket, reason: str) -> None:
    """Send the reason for closing the stream."""
    await socket.send_text(json.dumps({"type": "error", "message": reason}))


async def serve_client(socket: WebSocket, server: Server) -> None:
    """Serve one client: receive audio and send events at the same time."""
    first = await receive(socket, server)
    if isinstance(first, bytes):
        raise ProtocolError("the first message must be a start, not audio")
    try:
        start = Start.model_validate(first)
    except ValidationError as error:
        reason = reason_of(error.errors())
        raise ProtocolError(f"the first message must be a start: {reason}") from error
    stream = server.stream("events", start.sample_rate)
    decode = pcm16 if start.format == "pcm_s16le" else _pcm32
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_send_events(socket, server, stream))
            group.create_task(_receive_audio(socket, server, stream, decode))
    except* Exception as errors:
        raise errors.exceptions[0] from None
    finally:
        stream.cancel()


async def _send_events(socket: WebSocket, server: Server, stream: ClientStream) -> None:
    async for event in stream.events():
        await send(socket, server, event.to_json())
    await send(socket, server, json.dumps({"type": "done"}))


async def _receive_audio(
    socket: WebSocket,
    server: Server,
    stream: ClientStream,
    decode: Callable[[bytes], NDArray[np.float32]],
) -> None:
    while True:
        try:
            message = await receive(socket, server)
        except Draining:
            break  # what was received is still decoded and sent
        if isinstance(message, bytes):
            await stream.accept(decode(message))
        elif message == {"type": "end"}:
            break
        else:
            raise ProtocolError('after the start come binary messages, then {"type": "end"}')
    stream.end()
