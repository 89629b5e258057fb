"""Who may come in: tokens and, for pages in browsers, where they come from."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from .settings import ServeSettings

__all__ = ["SUBPROTOCOL", "may_enter", "may_open"]

SUBPROTOCOL = "streamasr"
_BEARER = "bearer."


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
    return urlsplit(origin).netloc == connection.headers.get("host")
