"""Running the server until it is told to stop, without losing a word."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn

from ..errors import StreamasrError

__all__ = ["DRAIN_SECONDS", "run"]

DRAIN_SECONDS = 10.0
"""How long the last words of open streams may take after SIGTERM."""

log = logging.getLogger("streamasr.serving")


class _Server(uvicorn.Server):
    """On a signal, streams are told their last words before connections are closed."""

    interrupted = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop, without raising the signal anew at the end, as uvicorn would; twice: at once."""
        self.interrupted = sig == signal.SIGINT
        self.force_exit, self.should_exit = self.should_exit, True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where it listens, once it does."""
        await super().startup(sockets)
        if self.started and sockets:
            scheme = "https" if self.config.is_ssl else "http"
            address = f"{scheme}://{self.config.host}:{sockets[0].getsockname()[1]}"
            print(f"listening on {address}; Ctrl-C stops", file=sys.stderr, flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        server = self.config.app.state.server if self.started else None  # type: ignore[union-attr]
        if server is not None:
            server.drain()
            log.info("stopping: %d streams are told their last words", len(server.scheduler))
            until = time.monotonic() + DRAIN_SECONDS
            while len(server.scheduler) and time.monotonic() < until:
                await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def run(config: uvicorn.Config) -> bool:
    """Serve until SIGTERM or Ctrl-C; return whether it was the latter.

    Raises StreamasrError if the address cannot be had.
    """
    try:
        bound = config.bind_socket()
    except SystemExit as error:
        raise StreamasrError(
            f"{config.host}:{config.port} cannot be listened on: choose another --host or --port"
        ) from error
    server = _Server(config)
    server.run([bound])
    return server.interrupted
