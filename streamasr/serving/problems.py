"""What went wrong, in words for a person, and as OpenAI's clients read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from ..errors import StreamasrError

__all__ = ["NotServed", "Problem", "body_of", "problem", "reason_of"]


class Reason(BaseModel):
    """What went wrong: a line for a person, and what a program may go by."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Problem(BaseModel):
    """An error as OpenAI's clients read it."""

    error: Reason


class NotServed(StreamasrError):
    """A request asks for what there is not; ``param`` names the field."""

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
    """Return an answer with an HTTP status and one line for a person."""
    return JSONResponse(body_of(status, message, param, code), status, headers)


def body_of(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return what such an answer says."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def reason_of(errors: Sequence[Any]) -> str:
    """Return the first of pydantic's ``errors`` as one line: where, and what is wrong there."""
    where = ".".join(str(part) for part in errors[0]["loc"] if part != "body")
    return f"{where}: {errors[0]['msg']}" if where else str(errors[0]["msg"])
