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
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ..audio import open_audio
from ..cues import split_at_pauses
from ..transcript import Transcript, Word
from ..writers import WRITERS
from .sockets import Server
from .streams import CallerStream

__all__ = ["router"]

router = APIRouter(prefix="/v1")
MODEL = "streamasr"


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
    async with aclosing(words):
        found = [word async for some in words for word in some]
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
        with tempfile.NamedTemporaryFile(suffix=Path(file.filename or "").suffix[:16]) as copy:
            while piece := await file.read(2**20):
                copy.write(piece)
            copy.flush()
            feeding = asyncio.create_task(_feed(caller, copy.name))
            try:
                async for event in caller.events():
                    yield [*event.words]
                await feeding
            finally:
                feeding.cancel()
    finally:
        caller.leave()
    if caller.seconds:
        rtf = (time.perf_counter() - began) / caller.seconds
        server.scheduler.metrics.upload_rtf.observe(rtf)


async def _feed(caller: CallerStream, path: str) -> None:
    try:
        with await asyncio.to_thread(open_audio, path) as audio:
            blocks = audio.blocks()
            while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                await caller.accept(block)
    except BaseException as error:
        caller.fail(error)
        raise
    caller.end()


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
        async for some in words:
            yield delta(some)
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
