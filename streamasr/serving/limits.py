"""A bound on what a request may send, kept while it arrives."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import StreamasrError

__all__ = ["BodyLimit", "BodyTooLarge"]


class BodyTooLarge(StreamasrError):
    """A request has a larger body than is allowed."""


class BodyLimit:
    """ASGI middleware: raises BodyTooLarge where a body is read beyond ``most_bytes``."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; websockets have a limit of their own."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise BodyTooLarge(f"more than {self._most} bytes: send the recording in parts")
            return message

        await self._app(scope, counted, send)
