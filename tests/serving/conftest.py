"""Servers on a real port, run in a thread of the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn

from streamasr import Recognizer
from streamasr.serving import ServeSettings, create_app
from streamasr.serving.running import configure
from streamasr.serving.sockets import Server


class Running:
    """A server's address, and what it works with."""

    def __init__(self, port: int, server: Server) -> None:
        self.http = f"http://127.0.0.1:{port}"
        self.ws = f"ws://127.0.0.1:{port}"
        self.server = server

    def wait_until_empty(self, seconds: float = 5.0) -> None:
        """Wait until no stream is left behind."""
        until = time.monotonic() + seconds
        while len(self.server.scheduler):
            assert time.monotonic() < until, "a stream was left behind"
            time.sleep(0.01)


@contextmanager
def running(
    recognizer: Recognizer, settings: ServeSettings | None = None, **scheduling: Any
) -> Iterator[Running]:
    settings = settings or ServeSettings()
    app = create_app(recognizer, settings, tick_seconds=0.01, **scheduling)
    config = configure(app, settings, port=0, log_level="error")
    server = uvicorn.Server(config)
    bound = config.bind_socket()
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield Running(bound.getsockname()[1], app.state.server)
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


@pytest.fixture(scope="session")
def served(recognizer: Recognizer) -> Iterator[Running]:
    """The bundled model, served."""
    with running(recognizer) as server:
        yield server


@pytest.fixture(scope="session")
def tiny_served(tiny: Recognizer) -> Iterator[Running]:
    """A tiny model, served within narrow limits."""
    settings = ServeSettings(
        max_streams=4,
        max_stream_seconds=20,
        idle_seconds=3,
        max_message_bytes=200_000,
        max_upload_bytes=400_000,
    )
    with running(tiny, settings) as server:
        yield server
