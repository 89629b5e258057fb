"""Run the server; on SIGTERM or SIGINT, drain it: flush open streams, then exit."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from ..errors import StreamasrError
from .settings import ServeSettings

__all__ = ["DRAIN_SECONDS", "configure", "run"]

DRAIN_SECONDS = 10.0
"""How long flushing open streams may take after SIGTERM."""

log = logging.getLogger("streamasr.serving")


class _Server(uvicorn.Server):
    """On a signal, open streams are flushed before connections are closed."""

    interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Shut down, at once the second time; uvicorn would raise the signal again at the end."""
        self.interrupted = sig == signal.SIGINT
        self.force_exit, self.should_exit = self.should_exit, True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Print the address once the server listens on it."""
        await super().startup(sockets)
        if self.started and sockets:
            scheme = "https" if self.config.is_ssl else "http"
            address = f"{scheme}://{self.config.host}:{sockets[0].getsockname()[1]}"
            print(f"listening on {address}; Ctrl-C stops", file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        server = self.config.app.state.server if self.started else None  # type: ignore[union-attr]
        if server is not None:
            server.drain()
            log.info("draining: flushing %d open streams", server.open_sockets)
            until = time.monotonic() + DRAIN_SECONDS
            while server.open_sockets and time.monotonic() < until and not self.force_exit:
                await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def configure(app: FastAPI, settings: ServeSettings, **options: Any) -> uvicorn.Config:
    """Return uvicorn's configuration; ``options`` are host, port and certificates."""
    return uvicorn.Config(
        app,
        # It reads a message at a time: who sends too fast is held back by the connection.
        ws="websockets-sansio",
        ws_max_size=settings.max_message_bytes,
        # Sound hardly shrinks.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=15,
        log_config=None,
        access_log=False,
        server_header=False,
        **options,
    )


def run(config: uvicorn.Config) -> bool:
    """Serve until SIGTERM or Ctrl-C; return whether it was the latter.

    Raises StreamasrError if the address cannot be had, or the certificate and its key, or if the
    server does not start.
    """
    try:
        config.load()
    except OSError as error:
        reason = "not a certificate and its key, both PEM"
        raise StreamasrError(
            f"{config.ssl_certfile}, {config.ssl_keyfile}: {reason} ({error})"
        ) from error
    try:
        bound = config.bind_socket()
    except SystemExit as error:
        raise StreamasrError(
            f"{config.host}:{config.port} cannot be listened on: choose another --host or --port"
        ) from error
    server = _Server(config)
    try:
        server.run([bound])
    except SystemExit as error:
        raise StreamasrError("the server did not start: its log says why") from error
    return server.interrupted
