"""Parse multipart forms whose file part may lack a file name, as some clients send it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

__all__ = ["RECORDING", "RecordingRoute"]

RECORDING = "the recording"
"""The name of an upload without a file name."""

_FIELD = b"file"


class RecordingRoute(APIRoute):
    """A route whose form field ``file`` is a file, whether or not it has a name."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return a handler that parses the form with ``_Parser``."""
        handle = super().get_route_handler()

        async def read_form(request: Request) -> Response:
            return await handle(_Request(request.scope, request.receive))

        return read_form


class _Request(Request):
    async def _get_form(self, **limits: Any) -> FormData:
        kind, _ = parse_options_header(self.headers.get("content-type"))
        if self._form is None and kind == b"multipart/form-data":
            try:
                self._form = await _Parser(self.headers, self.stream(), **limits).parse()
            except MultiPartException as error:
                raise HTTPException(400, error.message) from error
        return await super()._get_form(**limits)


class _Parser(MultiPartParser):
    """Take the file part for a file even without a name: text would be bounded and decoded."""

    def on_headers_finished(self) -> None:
        part = self._current_part
        _, options = parse_options_header(part.content_disposition)
        if options.get(b"name") == _FIELD and not options.get(b"filename"):
            part.content_disposition = b'form-data; name="file"; filename="%s"' % RECORDING.encode()
        super().on_headers_finished()
