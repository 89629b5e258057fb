"""Lhotse's manifests of cuts (Żelasko et al. 2021), as JSON lines, gzipped or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..failures import Failure
from .entry import Entry, json_lines, seconds_of, where_it_is

__all__ = ["read_lhotse"]


def read_lhotse(source: Path, on_failure: Callable[[Failure], None]) -> Iterator[Entry]:
    """Yield each supervision of each ``MonoCut`` as an utterance."""
    for place, cut in json_lines(source, on_failure):
        try:
            path = where_it_is(_recording(cut), source.parent)
            supervisions = cut.get("supervisions") or []
            if not supervisions:
                raise ValueError("no supervision: nothing says what is said")
            begin = seconds_of(cut.get("start"), "start")
            entries = [_entry(path, begin, supervision) for supervision in supervisions]
        except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
            on_failure(Failure(source, f"{place}: cut {cut.get('id', '?')}: {_reason(error)}"))
            continue
        yield from entries


def _reason(error: Exception) -> str:
    return str(error) if type(error) is ValueError else "not as Lhotse writes cuts"


def _recording(cut: Mapping[str, Any]) -> str:
    """Return the path of a cut's recording; raises ValueError for what is no plain file."""
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise ValueError(f"a {kind}: save its audio, and a cut of that")
    recording = cut.get("recording")
    if recording is None:
        raise ValueError("no recording, only its features")
    if recording.get("transforms"):
        raise ValueError("its recording is changed on the fly: save the audio first")
    sources = recording["sources"]
    if len(sources) != 1 or len(sources[0]["channels"]) != 1:
        raise ValueError("a recording of several channels: save each as a file first")
    (place,) = sources
    if place["type"] != "file":
        raise ValueError(f"its recording is a {place['type']}, not a file")
    return str(place["source"])


def _entry(path: Path, begin: float, supervision: Mapping[str, Any]) -> Entry:
    text = supervision.get("text")
    if not isinstance(text, str):
        raise ValueError(f"supervision {supervision.get('id', '?')}: no text")
    # Within a cut, times are its own, and what began before it has a negative one.
    start = begin + float(supervision["start"])
    end = start + seconds_of(supervision["duration"], "duration")
    name, speaker = str(supervision.get("id") or ""), str(supervision.get("speaker") or "")
    return Entry(path, text, speaker, max(start, 0.0), end, name)
