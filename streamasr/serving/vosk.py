"""The WebSocket protocol of vosk-server (https://github.com/alphacep/vosk-server), at ``/``.

Each binary message, 16-bit mono PCM, gets one answer: ``{"partial": …}``, or, where a segment has
ended, ``{"result": [...], "text": …}``. ``{"config": {"sample_rate": …, "words": true}}`` comes
first if at all and gets none; ``{"eof": 1}`` gets the rest.
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
from .streams import CallerStream

__all__ = ["refuse", "talk"]


class Config(BaseModel):
    """What a client may ask for; the server's other settings (``phrase_list``, …) are not ours."""

    model_config = ConfigDict(extra="ignore")

    # Clients send 16000.0, too.
    sample_rate: float = Field(16_000, ge=4_000, le=192_000)
    words: bool = False


async def refuse(socket: WebSocket, reason: str) -> None:
    """Say why the stream is closed."""
    await socket.send_text(json.dumps({"error": reason}))


async def talk(socket: WebSocket, server: Server) -> None:
    """Serve one caller."""
    config = Config()
    stream: CallerStream | None = None
    shown = ""
    try:
        while True:
            try:
                message = await receive(socket, server)
            except Draining:
                message = {"eof": 1}
            if isinstance(message, bytes):
                stream = stream or server.stream("vosk", round(config.sample_rate))
                await stream.accept(pcm16(message))
                await stream.caught_up()
                events = stream.pending()
                if events:
                    shown = events[-1].text if events[-1].type == "partial" else ""
                found = _words(events)
                answer = json.dumps({"partial": shown}, ensure_ascii=False)
                answer = _result(found, words=config.words) if found else answer
                await send(socket, server, answer)
            elif "config" in message:
                if stream is not None:
                    raise ProtocolError("config must come before the audio")
                config = _config(message["config"])
            elif "eof" in message:
                rest = [] if stream is None else await _rest(stream)
                await send(socket, server, _result(_words(rest), words=config.words))
                return
            else:
                raise ProtocolError('a text message is {"config": {...}} or {"eof": 1}')
    finally:
        if stream is not None:
            stream.leave()


def _config(value: Any) -> Config:
    try:
        return Config.model_validate(value)
    except ValidationError as error:
        raise ProtocolError(f"config: {reason_of(error.errors())}") from error


async def _rest(stream: CallerStream) -> list[Event]:
    stream.end()
    return [event async for event in stream.events()]


def _words(events: Iterable[Event]) -> list[Word]:
    return [word for event in events if event.type == "final" for word in event.words]


def _result(found: list[Word], *, words: bool) -> str:
    answer: dict[str, Any] = {}
    if words and found:
        answer["result"] = [
            {
                "conf": round(word.confidence, 3),
                "end": round(word.end, 3),
                "start": round(word.start, 3),
                "word": word.text,
            }
            for word in found
        ]
    answer["text"] = " ".join(word.text for word in found)
    return json.dumps(answer, ensure_ascii=False)
