"""The WebSocket protocol of vosk-server (https://github.com/alphacep/vosk-server), at ``/``.

Each binary message, 16-bit mono PCM, gets one answer: ``{"partial": …}``, or, where a segment has
ended, ``{"result": [...], "text": …}``. ``{"config": {"sample_rate": …, "words": true}}`` holds for
what follows it and gets none; ``{"reset": 1}`` ends the segment and gets the rest of it, ``{"eof":
1}`` ends the stream, too. Text is plain, as its clients expect. Where ours differs from
``asr_server.py`` is listed in docs/protocol.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocket

from ..events import Event
from ..transcript import Word
from .problems import reason_of
from .sockets import Draining, ProtocolError, Server, pcm16, receive, send
from .streams import ClientStream

__all__ = ["send_error", "serve_client"]


class Config(BaseModel):
    """The settings of a client; ``phrase_list`` and ``model`` are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    # Clients send 16000.0, too.
    sample_rate: float = Field(16_000, ge=4_000, le=192_000)
    words: bool = True
    max_alternatives: int = Field(0, ge=0)


async def send_error(socket: WebSocket, reason: str) -> None:
    """Send the reason for closing the stream."""
    await socket.send_text(json.dumps({"error": reason}))


async def serve_client(socket: WebSocket, server: Server) -> None:
    """Serve one client, a message at a time."""
    config = Config()
    stream: ClientStream | None = None
    shown = ""
    try:
        while True:
            try:
                message = await receive(socket, server)
            except Draining:
                message = {"eof": 1}
            if isinstance(message, bytes):
                stream = stream or server.stream("vosk", round(config.sample_rate), plain=True)
                await stream.accept(pcm16(message))
                await stream.processed()
                events = stream.take_events()
                if events:
                    shown = events[-1].text if events[-1].type == "partial" else ""
                found = _words(events)
                answer = json.dumps({"partial": shown}, ensure_ascii=False)
                await send(socket, server, _result(found, config) if found else answer)
            elif "config" in message:
                config = _config(message["config"], config)
                if stream is not None and stream.sample_rate != round(config.sample_rate):
                    stream.sample_rate = round(config.sample_rate)
            elif "eof" in message:
                rest = [] if stream is None else await _rest(stream)
                await send(socket, server, _result(_words(rest), config))
                return
            elif "reset" in message:
                if stream is not None:
                    await stream.end_segment()
                ended = [] if stream is None else stream.take_events()
                shown = ""
                await send(socket, server, _result(_words(ended), config))
            else:
                raise ProtocolError(
                    'a text message is {"config": {...}}, {"reset": 1} or {"eof": 1}'
                )
    finally:
        if stream is not None:
            stream.cancel()


def _config(value: Any, before: Config) -> Config:
    """Return the settings with those of a ``config`` message applied."""
    known = before.model_dump()
    try:
        return Config.model_validate({**known, **value} if isinstance(value, dict) else value)
    except ValidationError as error:
        raise ProtocolError(f"config: {reason_of(error.errors())}") from error


async def _rest(stream: ClientStream) -> list[Event]:
    stream.end()
    return [event async for event in stream.events()]


def _words(events: Iterable[Event]) -> list[Word]:
    return [word for event in events if event.type == "final" for word in event.words]


def _result(found: list[Word], config: Config) -> str:
    """Return a final result; where alternatives are asked for, one in their shape."""
    result = [
        {
            "conf": round(word.confidence, 3),
            "end": round(word.end, 3),
            "start": round(word.start, 3),
            "word": word.text,
        }
        for word in found
    ]
    answer: dict[str, Any] = {"result": result} if config.words and found else {}
    answer["text"] = " ".join(word.text for word in found)
    if config.max_alternatives:
        mean = sum(word.confidence for word in found) / len(found) if found else 1.0
        answer = {"alternatives": [{"confidence": round(mean, 3), **answer}]}
    return json.dumps(answer, ensure_ascii=False)
