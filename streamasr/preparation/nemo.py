"""NeMo's manifests: a JSON object a line, with ``audio_filepath``, ``text``, ``duration``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

from ..failures import Failure
from .entry import Entry, json_lines, seconds_of, where_it_is

__all__ = ["read_nemo"]


def read_nemo(source: Path, on_failure: Callable[[Failure], None]) -> Iterator[Entry]:
    """Yield the utterances of a manifest; with ``offset`` they are a part of their recording."""
    for place, fields in json_lines(source, on_failure):
        audio, text = fields.get("audio_filepath"), fields.get("text")
        start, end = 0.0, math.inf
        try:
            if not isinstance(audio, str) or not audio:
                raise ValueError("no audio_filepath")
            if not isinstance(text, str):
                raise ValueError("no text")
            if fields.get("offset") is not None:
                start = seconds_of(fields["offset"], "offset")
                end = start + seconds_of(fields.get("duration"), "duration")
        except ValueError as error:
            on_failure(Failure(source, f"{place}: {error}"))
            continue
        path = where_it_is(audio, source.parent)
        yield Entry(path, text, str(fields.get("speaker") or ""), start, end)
