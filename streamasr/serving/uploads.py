"""OpenAI's ``POST /v1/audio/transcriptions``
(https://platform.openai.com/docs/api-reference/audio), for recordings of any format."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ..audio import AudioFile, open_audio
from ..errors import StreamasrError
from ..events import Event
from ..events.cues import split_at_pauses
from ..events.writers import WRITERS
from ..transcript import Token, Transcript, Word
from .forms import RECORDING, RecordingRoute
from .problems import Problem, UnsupportedRequest, body_of
from .scheduler import RecognitionFailed
from .sockets import Server
from .streams import ClientStream

__all__ = ["router"]

log = logging.getLogger("streamasr.serving")

router = APIRouter(
    prefix="/v1",
    route_class=RecordingRoute,
    responses={"4XX": {"model": Problem, "description": "What was wrong with the request."}},
)
MODEL = "streamasr"
CLIENT_LEFT = 499
"""Client closed request: the status that proxies log; nobody reads it."""
POLL_SECONDS = 0.5
"""How often the connection of a client is checked; no event may be due for minutes."""
LANGUAGES = {"en": "english"}
"""Names of languages, by their codes, that OpenAI's clients read and may send."""


class ResponseFormat(StrEnum):
    """The format of the response."""

    json = "json"
    text = "text"
    srt = "srt"
    vtt = "vtt"
    verbose_json = "verbose_json"


class Granularity(StrEnum):
    """The units that ``verbose_json`` has timestamps of."""

    word = "word"
    segment = "segment"


@router.get("/models")
def models(request: Request) -> dict[str, Any]:
    """List the one model there is."""
    return {"object": "list", "data": [_model(request)]}


@router.get("/models/{name:path}")
def model_named(request: Request, name: str) -> dict[str, Any]:
    """Describe the one model there is."""
    if name != MODEL:
        reason = f"there is no model {name!r} here: the one there is, is called {MODEL!r}"
        raise UnsupportedRequest(reason, status=404, param="model", code="model_not_found")
    return _model(request)


def _model(request: Request) -> dict[str, Any]:
    server: Server = request.app.state.server
    return {
        "id": MODEL,
        "object": "model",
        "created": server.model_created,
        "owned_by": "streamasr",
    }


@router.post("/audio/transcriptions", response_model=None)
async def transcriptions(
    request: Request,
    file: Annotated[UploadFile, File(description="A recording of any format.")],
    model: Annotated[str, Form(description="Any name: there is one model.")] = MODEL,  # noqa: ARG001
    response_format: Annotated[ResponseFormat, Form()] = ResponseFormat.json,
    stream: Annotated[bool, Form(description="Server-sent events, as words come.")] = False,
    language: Annotated[str, Form(description="The model's, if any: en.")] = "",
    temperature: Annotated[float, Form(ge=0, le=1, description="Changes nothing.")] = 0.0,  # noqa: ARG001
    timestamp_granularities: Annotated[
        list[Granularity] | None, Form(alias="timestamp_granularities[]")
    ] = None,
    granularities: Annotated[
        list[Granularity] | None, Form(alias="timestamp_granularities")
    ] = None,
    include: Annotated[list[str] | None, Form(alias="include[]")] = None,
    included: Annotated[list[str] | None, Form(alias="include")] = None,
) -> Response:
    """Transcribe a recording."""
    server: Server = request.app.state.server
    spoken = server.scheduler.recognizer.config.language
    _check_language(language, spoken)
    for asked in (*(include or ()), *(included or ())):
        raise UnsupportedRequest(
            f"include: {asked!r} is not served here: leave it out", param="include"
        )
    # Opened here, so that a full server answers 503 before the response begins.
    client = ClientStream(server.scheduler, server.settings, live=False)
    server.scheduler.metrics.opened.labels("upload").inc()
    events = _transcribe(request, server, client, file)
    if stream:
        first = await anext(events, None)  # an unreadable file is an error, not an event
        return StreamingResponse(_server_sent(first, events), media_type="text/event-stream")
    words: list[Word] = []
    tokens: list[Token] = []
    async with aclosing(events):
        async for event in events:
            words += event.words
            tokens += event.tokens or ()
    if await request.is_disconnected():
        return Response(status_code=CLIENT_LEFT)
    plain = server.scheduler.recognizer.formatter is None
    transcript = Transcript(tuple(words), client.seconds, tokens=None if plain else tuple(tokens))
    if response_format is ResponseFormat.json:
        return JSONResponse({"text": transcript.text})
    if response_format is ResponseFormat.verbose_json:
        times = [*(timestamp_granularities or ()), *(granularities or ())]
        return JSONResponse(_verbose(transcript, LANGUAGES.get(spoken, spoken), times))
    writer = WRITERS["txt" if response_format is ResponseFormat.text else response_format.value]
    return PlainTextResponse(writer.render(transcript, source=file.filename or ""))


def _check_language(asked: str, spoken: str) -> None:
    """Raise UnsupportedRequest for a language that the model does not know, by code or by name."""
    code = asked.strip().lower().replace("_", "-").partition("-")[0]
    if code not in ("", spoken, LANGUAGES.get(spoken)):
        reason = f"language: {asked!r} is not spoken here, but {spoken!r}: leave it out"
        raise UnsupportedRequest(reason, param="language")


async def _transcribe(
    request: Request, server: Server, client: ClientStream, file: UploadFile
) -> AsyncGenerator[Event, None]:
    """Yield finals as words are complete, until the client disconnects; raises AudioError."""
    began = time.perf_counter()
    feeding = asyncio.create_task(_feed(client, file))
    watching = asyncio.create_task(_cancel_on_disconnect(request, client))
    try:
        async for event in client.events():
            yield event
    finally:
        watching.cancel()
        client.cancel()
        # Its thread may be reading, and must not be cut off: it reads a block at most.
        await asyncio.wait([feeding])
    if client.seconds:
        rtf = (time.perf_counter() - began) / client.seconds
        server.scheduler.metrics.upload_rtf.observe(rtf)


async def _cancel_on_disconnect(request: Request, client: ClientStream) -> None:
    """Cancel the stream as soon as the client disconnects."""
    while not await request.is_disconnected():
        await asyncio.sleep(POLL_SECONDS)
    client.cancel()


async def _feed(client: ClientStream, file: UploadFile) -> None:
    """Feed a recording to the stream; errors name it as its sender does."""

    def opened() -> AudioFile:
        return open_audio(file.file, name=file.filename or RECORDING, on_note=log.info)

    try:
        with await asyncio.to_thread(opened) as audio:
            blocks = audio.blocks()
            while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                await client.accept(block)
                if client.over:
                    return
        client.end()
    except Exception as error:
        client.fail(error)


async def _server_sent(
    first: Event | None, finals: AsyncGenerator[Event, None]
) -> AsyncIterator[str]:
    said: list[str] = []

    def event(kind: str, **values: Any) -> str:
        return f"data: {json.dumps({'type': kind, **values}, ensure_ascii=False)}\n\n"

    def delta(text: str) -> str:
        said.append(text)
        return event("transcript.text.delta", delta=text if len(said) == 1 else " " + text)

    if first is not None:
        if first.text:
            yield delta(first.text)
        try:
            async for final in finals:
                if final.text:
                    yield delta(final.text)
        except (StreamasrError, RecognitionFailed) as error:
            status = 500 if isinstance(error, RecognitionFailed) else 400
            yield f"data: {json.dumps(body_of(status, str(error)))}\n\n"
            return
    yield event("transcript.text.done", text=" ".join(said))


def _verbose(
    transcript: Transcript, language: str, granularities: Sequence[Granularity]
) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": round(transcript.duration, 3),
        "text": transcript.text,
        "segments": [
            {
                "id": number,
                "start": round(segment[0].start, 3),
                "end": round(segment[-1].end, 3),
                "text": " ".join(map(str, segment)),
                "avg_logprob": _mean_log([word for token in segment for word in token.words]),
                # Clients expect these; they have no meaning for this model.
                "seek": 0,
                "tokens": [],
                "temperature": 0.0,
                "compression_ratio": 1.0,
                "no_speech_prob": 0.0,
            }
            for number, segment in enumerate(split_at_pauses(transcript.as_tokens()))
        ],
    }
    if Granularity.word in granularities:
        answer["words"] = [
            {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3)}
            for word in transcript.words
        ]
    return answer


def _mean_log(words: Sequence[Word]) -> float:
    return round(sum(math.log(max(word.confidence, 1e-6)) for word in words) / len(words), 3)
