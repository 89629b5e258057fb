"""Who may come in: tokens and, for pages in browsers, where they come from."""

from __future__ import annotations

import hmac

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from .problems import problem
from .settings import ServeSettings

__all__ = ["SUBPROTOCOL", "Gate", "may_enter", "may_open"]

SUBPROTOCOL = "streamasr"
_BEARER = "bearer."
_OPEN = ("/", "/healthz", "/readyz")


class Gate:
    """ASGI middleware: answers 401 to requests without a token; the page and health are open."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on who may enter; WebSockets are asked where they are served."""
        if scope["type"] == "http":
            path = scope["path"]
            is_open = path in _OPEN or path.startswith("/page/")
            if not is_open and not may_enter(HTTPConnection(scope), self._settings):
                reason = "this server asks for a token: Authorization: Bearer TOKEN"
                headers = {"WWW-Authenticate": "Bearer"}
                refusal = problem(401, reason, headers, code="invalid_api_key")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def may_enter(connection: HTTPConnection, settings: ServeSettings) -> bool:
    """Whether a request shows a token, if the server asks for one.

    ``Authorization: Bearer TOKEN``; or, since pages cannot send headers with a WebSocket, the
    subprotocol ``bearer.TOKEN`` beside ``streamasr``.
    """
    if not settings.tokens:
        return True
    kind, _, shown = connection.headers.get("authorization", "").partition(" ")
    offered = connection.headers.get("sec-websocket-protocol", "")
    for protocol in (part.strip() for part in offered.split(",")):
        if protocol.startswith(_BEARER):
            kind, shown = "bearer", protocol.removeprefix(_BEARER)
    known = [hmac.compare_digest(shown.encode(), token.encode()) for token in settings.tokens]
    return kind.lower() == "bearer" and any(known)


def may_open(connection: HTTPConnection, settings: ServeSettings) -> bool:
    """Whether a WebSocket comes from this server's own page, an allowed one, or no page at all.

    Browsers let any page open a WebSocket anywhere, and tell where the page is from.
    """
    origin = connection.headers.get("origin")
    if origin is None or origin in settings.origins:
        return True
    return origin.partition("://")[2] == connection.headers.get("host")
