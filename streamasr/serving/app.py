"""The server's routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from .. import __version__
from ..api import Recognizer
from ..errors import StreamasrError
from . import events_socket, uploads, vosk
from .access import AuthenticationMiddleware
from .limits import BodyLimit
from .metrics import Metrics
from .problems import UnsupportedRequest, problem, reason_of
from .scheduler import RecognitionFailed, Scheduler, ServerFull
from .settings import ServeSettings
from .sockets import Server, serve_socket

__all__ = ["create_app"]

PAGE = Path(__file__).parent / "page"


def create_app(
    recognizer: Recognizer, settings: ServeSettings | None = None, **scheduling: Any
) -> FastAPI:
    """Return the ASGI application; ``scheduling`` goes to ``Scheduler``.

    It runs its own recognition threads from start-up to shutdown. On shutdown, or as soon as
    ``app.state.server.drain`` is called, open streams are flushed.
    """
    settings = settings or ServeSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        metrics = Metrics()
        scheduler = Scheduler(recognizer, metrics, max_streams=settings.max_streams, **scheduling)
        app.state.server = Server(scheduler, settings)
        try:
            yield
        finally:  # also where a second signal ends it at once
            app.state.server.drain()
            await asyncio.to_thread(scheduler.close)

    app = FastAPI(
        title="streamasr",
        version=__version__,
        description="Streaming speech recognition. WebSockets: `/v1/stream` (docs/protocol.md) and "
        "vosk-server's protocol at `/`.",
        lifespan=lifespan,
    )
    app.add_middleware(BodyLimit, most_bytes=settings.max_upload_bytes)
    app.add_middleware(AuthenticationMiddleware, settings=settings)
    app.include_router(uploads.router)
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    _add_operations(app)
    _add_sockets(app)
    _add_errors(app)
    return app


def _add_operations(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @app.get("/healthz", response_model=None)
    def healthz(request: Request) -> Response:
        """Liveness: 503 while the thread that runs the model is dead; restart the server then."""
        server: Server = request.app.state.server
        if not server.scheduler.alive:
            return JSONResponse({"status": "recognition has stopped: restart the server"}, 503)
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", response_model=None)
    def readyz(request: Request) -> Response:
        """Readiness: 503 while draining or full; ``degraded``: without the language model."""
        server: Server = request.app.state.server
        status, code = "ready", 200
        if server.draining:
            status, code = "draining", 503
        elif len(server.scheduler) >= server.scheduler.max_streams:
            status, code = "full", 503
        return JSONResponse({"status": status, **_decoding(server.scheduler.recognizer)}, code)

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics(request: Request) -> Response:
        """Metrics in Prometheus' text format."""
        found = generate_latest(request.app.state.server.scheduler.metrics.registry)
        return Response(found, media_type=CONTENT_TYPE_LATEST)


def _decoding(recognizer: Recognizer) -> dict[str, object]:
    return {
        "decoder": recognizer.decoder,
        "reason": recognizer.decoder_reason,
        "degraded": recognizer.degraded,
    }


def _add_sockets(app: FastAPI) -> None:
    @app.websocket("/")
    async def vosk_socket(socket: WebSocket) -> None:
        await serve_socket(socket, app.state.server, vosk.serve_client, vosk.send_error)

    @app.websocket("/v1/stream")
    async def our_socket(socket: WebSocket) -> None:
        await serve_socket(
            socket, app.state.server, events_socket.serve_client, events_socket.send_error
        )


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(ServerFull)
    async def full(_request: Request, error: ServerFull) -> JSONResponse:
        return problem(503, str(error), {"Retry-After": "1"})

    @app.exception_handler(RecognitionFailed)
    async def failed(_request: Request, error: RecognitionFailed) -> JSONResponse:
        return problem(500, str(error))

    @app.exception_handler(UnsupportedRequest)
    async def not_served(_request: Request, error: UnsupportedRequest) -> JSONResponse:
        return problem(error.status, str(error), param=error.param, code=error.code)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        reason = str(error.detail)
        if error.status_code in (404, 405):
            reason = f"{request.method} {request.url.path}: {reason}; /docs lists what there is"
        return problem(error.status_code, reason, error.headers)

    @app.exception_handler(Exception)  # which uvicorn logs, too
    async def bug(_request: Request, _error: Exception) -> JSONResponse:
        return problem(500, "the server failed, and its log says why")

    @app.exception_handler(StreamasrError)
    async def mistake(_request: Request, error: StreamasrError) -> JSONResponse:
        return problem(400, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        errors = error.errors()
        field = [str(part) for part in errors[0]["loc"] if part != "body"]
        return problem(400, reason_of(errors), param=field[0] if field else None)
