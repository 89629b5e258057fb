"""Limits and access settings of a server."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..errors import ConfigError
from ..validated import Settings

__all__ = ["ServeSettings", "read_tokens"]


class ServeSettings(Settings):
    """Limits of a server: they bound the resources that any client can use."""

    max_streams: int = Field(64, ge=1, description="live streams and uploads at once")
    max_stream_seconds: float = Field(4 * 3600, gt=0, description="of audio in a stream")
    max_upload_bytes: int = Field(512 * 2**20, ge=1, description="of a recording")
    max_message_bytes: int = Field(1 * 2**20, ge=1024, description="of a WebSocket message")
    idle_seconds: float = Field(30.0, gt=0, description="without audio before a stream is closed")
    waiting_seconds: float = Field(2.0, gt=0, description="of audio queued before its sender waits")
    tokens: frozenset[str] = Field(
        frozenset(), description="one per client; none: no authentication"
    )
    origins: frozenset[str] = Field(
        frozenset(), description="of pages, beside the server's own, that may open WebSockets"
    )


def read_tokens(path: Path) -> frozenset[str]:
    """Read a token a line; raises ConfigError if there is none."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the tokens cannot be read ({error})") from error
    if not lines:
        raise ConfigError(f"{path}: holds no token; write one a line")
    return frozenset(lines)
