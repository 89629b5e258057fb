"""Authentication by token and, for pages in browsers, a check of their origin."""

from __future__ import annotations

import hmac

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from .problems import problem
from .settings import ServeSettings

__all__ = ["SUBPROTOCOL", "AuthenticationMiddleware", "is_allowed_origin", "is_authenticated"]

SUBPROTOCOL = "streamasr"
_BEARER = "bearer."
_PUBLIC = ("/", "/healthz", "/readyz")


class AuthenticationMiddleware:
    """ASGI middleware: answers 401 to requests without a token; the page and health are public."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject unauthenticated HTTP requests; WebSockets are checked in ``serve_socket``."""
        if scope["type"] == "http":
            path = scope["path"]
            is_public = path in _PUBLIC or path.startswith("/page/")
            if not is_public and not is_authenticated(HTTPConnection(scope), self._settings):
                reason = "this server asks for a token: Authorization: Bearer TOKEN"
                headers = {"WWW-Authenticate": "Bearer"}
                refusal = problem(401, reason, headers, code="invalid_api_key")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_authenticated(connection: HTTPConnection, settings: ServeSettings) -> bool:
    """Whether a request carries a valid token, if the server requires one.

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


def is_allowed_origin(connection: HTTPConnection, settings: ServeSettings) -> bool:
    """Whether a WebSocket's Origin is this server's own, an allowed one, or missing.

    Browsers let any page open a WebSocket anywhere, and send the page's origin along.
    """
    origin = connection.headers.get("origin")
    if origin is None or origin in settings.origins:
        return True
    return origin.partition("://")[2] == connection.headers.get("host")
