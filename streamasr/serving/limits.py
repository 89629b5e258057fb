"""A limit on the size of request bodies, checked while they arrive."""

from __future__ import annotations

from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import StreamasrError
from .problems import problem

__all__ = ["BodyLimit"]


class _TooLarge(StreamasrError):
    """A request has a larger body than is allowed."""


class BodyLimit:
    """ASGI middleware: answers 413 as soon as a body is longer than ``most_bytes``."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count an HTTP body as it is read; WebSocket messages have a limit of their own."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, begun = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise _TooLarge
            return message

        async def answer(message: Message) -> None:
            nonlocal begun
            if received <= self._most or begun:
                begun = True
                await send(message)

        with suppress(_TooLarge):
            await self._app(scope, counted, answer)
        if received > self._most and not begun:
            reason = f"more than {self._most} bytes: send the recording in parts"
            await problem(413, reason)(scope, receive, send)
