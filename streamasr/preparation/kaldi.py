"""Kaldi's data directories: ``wav.scp``, ``text``, and where they are ``segments``, ``utt2spk``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import ConfigError
from ..failures import Failure
from .entry import Entry, seconds_of, text_lines, where_it_is

__all__ = ["read_kaldi"]

_IN_ARCHIVE = re.compile(r"\.ark:\d+$")


def read_kaldi(source: Path, on_failure: Callable[[Failure], None]) -> Iterator[Entry]:
    """Yield the utterances of ``text``, in its order.

    Commands in ``wav.scp`` are not run, nor archives unpacked: both are a ConfigError, as whole
    data sets are made of them.
    """
    recordings = _recordings(source)
    texts = _table(source / "text")
    speakers = _table(source / "utt2spk") if (source / "utt2spk").exists() else {}
    cut = (source / "segments").exists()
    segments = _table(source / "segments") if cut else {}
    for name, text in texts.items():
        try:
            recording, start, end = _span(name, segments) if cut else (name, 0.0, math.inf)
            if recording not in recordings:
                raise ValueError(f"no recording {recording!r} in wav.scp")
        except ValueError as error:
            on_failure(Failure(source, f"{source}: utterance {name}: {error}"))
            continue
        path = recordings[recording]
        yield Entry(path, text, speakers.get(name, ""), start, end, name)
    for name in segments.keys() - texts.keys() if cut else recordings.keys() - texts.keys():
        on_failure(Failure(source, f"{source}: utterance {name}: no transcript in text"))


def _recordings(source: Path) -> dict[str, Path]:
    found = {}
    for name, place in _table(source / "wav.scp").items():
        what = "a command" if place.endswith("|") else "within an archive"
        if place.endswith("|") or _IN_ARCHIVE.search(place):
            raise ConfigError(
                f"{source / 'wav.scp'}: recording {name} is {what}: write the recordings to files "
                "and list these"
            )
        found[name] = where_it_is(place, source)
    return found


def _table(path: Path) -> dict[str, str]:
    """Return what follows the first word of each line, by that word."""
    rows = (line.strip().partition(" ") for line in _single_spaces(path))
    return {name: rest.strip() for name, _, rest in rows if name}


def _single_spaces(path: Path) -> Iterator[str]:
    return (line.replace("\t", " ") for line in text_lines(path))


def _span(name: str, segments: dict[str, str]) -> tuple[str, float, float]:
    """Return an utterance's recording, start and end; raises ValueError."""
    if name not in segments:
        raise ValueError("not in segments")
    fields = segments[name].split()
    if len(fields) != 3:
        raise ValueError(f"segments has {' '.join(fields)!r}: not a recording, a start and an end")
    recording, start, end = fields
    # -1 stands for the end of the recording.
    last = math.inf if end in ("-1", "-1.0") else seconds_of(end, "the end")
    return recording, seconds_of(start, "the start"), last
