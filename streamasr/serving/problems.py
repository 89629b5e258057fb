"""Error responses: a line for a person, in the shape that OpenAI's clients parse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from ..errors import StreamasrError

__all__ = ["Problem", "UnsupportedRequest", "body_of", "problem", "reason_of"]


class Reason(BaseModel):
    """The details of an error: a line for a person, and codes for a program."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Problem(BaseModel):
    """An error response as OpenAI's clients parse it."""

    error: Reason


class UnsupportedRequest(StreamasrError):
    """A request asks for something unsupported; ``param`` names the field."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


def problem(
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    *,
    param: str | None = None,
    code: str | None = None,
) -> JSONResponse:
    """Return an error response with an HTTP status and one line for a person."""
    return JSONResponse(body_of(status, message, param, code), status, headers)


def body_of(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return the body of an error response."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def reason_of(errors: Sequence[Any]) -> str:
    """Return the first of pydantic's ``errors`` as one line: which field, and why."""
    where = ".".join(str(part) for part in errors[0]["loc"] if part != "body")
    return f"{where}: {errors[0]['msg']}" if where else str(errors[0]["msg"])
