"""What went wrong, as OpenAI's clients read it."""

from __future__ import annotations

from starlette.responses import JSONResponse

__all__ = ["problem"]


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return an answer with an HTTP status and one line for a person."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": None}
    return JSONResponse({"error": error}, status, headers)
