"""OpenAI's ``POST /v1/audio/transcriptions``
(https://platform.openai.com/docs/api-reference/audio), for recordings of any format."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ..audio import open_audio
from ..audio.audiofile import one_line
from ..cues import split_at_pauses
from ..errors import AudioError, StreamasrError
from ..transcript import Transcript, Word
from ..writers import WRITERS
from .problems import body_of
from .scheduler import Failed
from .sockets import Server
from .streams import CallerStream

__all__ = ["router"]

router = APIRouter(prefix="/v1")
MODEL = "streamasr"
CLIENT_LEFT = 499
"""Nobody reads it: the status that proxies log."""


class ResponseFormat(StrEnum):
    """What the answer looks like."""

    json = "json"
    text = "text"
    srt = "srt"
    vtt = "vtt"
    verbose_json = "verbose_json"


@router.get("/models")
def models() -> dict[str, Any]:
    """List the one model there is."""
    return {"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "streamasr"}]}


@router.post("/audio/transcriptions", response_model=None)
async def transcriptions(
    request: Request,
    file: Annotated[UploadFile, File(description="A recording of any format.")],
    model: Annotated[str, Form(description="Any name: there is one model.")] = MODEL,  # noqa: ARG001
    response_format: Annotated[ResponseFormat, Form()] = ResponseFormat.json,
    stream: Annotated[bool, Form(description="Server-sent events, as words come.")] = False,
    timestamp_granularities: Annotated[
        list[str] | None, Form(alias="timestamp_granularities[]")
    ] = None,
) -> Response:
    """Transcribe a recording."""
    server: Server = request.app.state.server
    # Opened here, so that a full server refuses before anything is answered.
    caller = CallerStream(server.scheduler, server.settings, live=False)
    server.scheduler.metrics.opened.labels("upload").inc()
    words = _transcribe(server, caller, file)
    if stream:
        first = await anext(words, None)  # an unreadable file is an error, not an event
        return StreamingResponse(_server_sent(first, words), media_type="text/event-stream")
    found: list[Word] = []
    async with aclosing(words):
        async for some in words:
            found += some
            if await request.is_disconnected():
                return Response(status_code=CLIENT_LEFT)  # and its recording is heard no further
    transcript = Transcript(tuple(found), caller.seconds)
    if response_format is ResponseFormat.json:
        return JSONResponse({"text": transcript.text})
    if response_format is ResponseFormat.verbose_json:
        return JSONResponse(_verbose(transcript, timestamp_granularities or ["segment"]))
    writer = WRITERS["txt" if response_format is ResponseFormat.text else response_format.value]
    return PlainTextResponse(writer.render(transcript, source=file.filename or ""))


async def _transcribe(
    server: Server, caller: CallerStream, file: UploadFile
) -> AsyncGenerator[list[Word], None]:
    """Yield words as they become final; raises AudioError for what is no recording."""
    began = time.perf_counter()
    try:
        with tempfile.NamedTemporaryFile() as copy:
            while piece := await file.read(2**20):
                copy.write(piece)
            copy.flush()
            name = one_line(file.filename or "the recording")
            feeding = asyncio.create_task(_feed(caller, copy.name, name))
            try:
                async for event in caller.events():
                    yield [*event.words]
            finally:
                caller.leave()
                # Its thread may be reading, and must not be cut off: it reads a block at most.
                await asyncio.wait([feeding])
    finally:
        caller.leave()
    if caller.seconds:
        rtf = (time.perf_counter() - began) / caller.seconds
        server.scheduler.metrics.upload_rtf.observe(rtf)


async def _feed(caller: CallerStream, path: str, name: str) -> None:
    """Let ``caller`` hear a recording; errors call it by the ``name`` that its sender knows."""
    try:
        with await asyncio.to_thread(open_audio, path) as audio:
            blocks = audio.blocks()
            while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                await caller.accept(block)
                if caller.over:
                    return
        caller.end()
    except StreamasrError as error:
        caller.fail(AudioError(str(error).replace(path, name)))
    except Exception as error:
        caller.fail(error)


async def _server_sent(
    first: list[Word] | None, words: AsyncGenerator[list[Word], None]
) -> AsyncIterator[str]:
    said: list[str] = []

    def event(kind: str, **values: Any) -> str:
        return f"data: {json.dumps({'type': kind, **values}, ensure_ascii=False)}\n\n"

    def delta(some: list[Word]) -> str:
        text = " ".join(word.text for word in some)
        said.append(text)
        return event("transcript.text.delta", delta=text if len(said) == 1 else " " + text)

    if first is not None:
        yield delta(first)
        try:
            async for some in words:
                yield delta(some)
        except (StreamasrError, Failed) as error:
            status = 500 if isinstance(error, Failed) else 400
            yield f"data: {json.dumps(body_of(status, str(error)))}\n\n"
            return
    yield event("transcript.text.done", text=" ".join(said))


def _verbose(transcript: Transcript, granularities: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": "english",
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": [
            {
                "id": number,
                "start": round(segment[0].start, 3),
                "end": round(segment[-1].end, 3),
                "text": " ".join(word.text for word in segment),
                "avg_logprob": _mean_log(segment),
                # Clients expect these; they have no meaning for this model.
                "seek": 0,
                "tokens": [],
                "temperature": 0.0,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.0,
            }
            for number, segment in enumerate(split_at_pauses(transcript.words))
        ],
    }
    if "word" in granularities:
        answer["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for word in transcript.words
        ]
    return answer


def _mean_log(words: tuple[Word, ...]) -> float:
    return round(sum(math.log(max(word.confidence, 1e-6)) for word in words) / len(words), 3)
