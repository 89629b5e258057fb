"""What went wrong, in words for a person, and as OpenAI's clients read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import JSONResponse

__all__ = ["body_of", "problem", "reason_of"]


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an answer with an HTTP status and one line for a person."""
    return JSONResponse(body_of(status, message), status, headers)


def body_of(status: int, message: str) -> dict[str, Any]:
    """Return what such an answer says."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def reason_of(errors: Sequence[Any]) -> str:
    """Return the first of pydantic's ``errors`` as one line: where, and what is wrong there."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    return f"{where}: {errors[0]['msg']}" if where else str(errors[0]["msg"])
