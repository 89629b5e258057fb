"""Recordings that somebody has already, with their transcripts where there are any.

A transcript is, in this order: the row of a table (csv or tsv) that names the recording; the cues
of subtitles beside it (srt or vtt), which cut it into pieces; a text file beside it; or nothing.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import SAMPLE_RATE, open_audio
from ..errors import ConfigError, StreamasrError
from ..jobs.inputs import EXTENSIONS
from .session import Session

__all__ = ["Cue", "import_recordings", "read_cues", "read_tables", "recordings_in"]

_PATHS = ("path", "file", "filename", "file_name", "audio", "wav")
_TEXTS = ("transcript", "text", "sentence", "transcription", "normalized_text")
_TIMES = re.compile(r"((?:\d+:)?\d+:\d+[.,]\d+)\s*-->\s*((?:\d+:)?\d+:\d+[.,]\d+)")
_TAG = re.compile(r"<[^>]*>|\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Cue:
    """What is said from ``start`` to ``end``, in seconds."""

    start: float
    end: float
    text: str


def recordings_in(folder: Path) -> list[Path]:
    """Return the recordings below ``folder``, hidden ones left out, in order of name."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_tables(folder: Path) -> dict[Path, str]:
    """Return the transcripts that tables directly in ``folder`` give to recordings.

    A table has a header with a column for the recording, relative to the folder, and one for what
    is said: such as ``path`` and ``transcript``, or ``file_name`` and ``text``. Others are no
    tables of recordings.
    """
    found: dict[Path, str] = {}
    for table in sorted([*folder.glob("*.csv"), *folder.glob("*.tsv")]):
        try:
            text = table.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{table}: cannot be read as a table, UTF-8 text") from error
        lines = text.splitlines()
        if not lines:
            continue
        if table.suffix == ".tsv":
            # A manifest's quotation marks are part of the text.
            rows = csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            rows = csv.DictReader(lines, delimiter=";" if lines[0].count(";") else ",")
        names = {name.strip().lower(): name for name in rows.fieldnames or () if name}
        audio = next((names[name] for name in _PATHS if name in names), None)
        said = next((names[name] for name in _TEXTS if name in names), None)
        if audio is None or said is None:
            continue
        for row in rows:
            if row[audio]:
                found[folder / row[audio].strip()] = row[said] or ""
    return found


def read_cues(path: Path) -> list[Cue]:
    """Return the cues of an srt or vtt file; raises ConfigError for one that has none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as subtitles, UTF-8 text") from error
    cues = []
    for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")):
        times = _TIMES.search(block)
        if times:
            start, end = (_seconds(part) for part in times.groups())
            said = " ".join(_TAG.sub(" ", block[times.end() :].partition("\n")[2]).split())
            if said and end > start:
                cues.append(Cue(start, end, said))
    if not cues:
        raise ConfigError(f"{path}: no cue with times and text")
    return cues


def _seconds(stamp: str) -> float:
    seconds = 0.0
    for part in stamp.replace(",", ".").split(":"):
        seconds = 60 * seconds + float(part)
    return seconds


def import_recordings(
    folder: Path, session: Session, on_problem: Callable[[str], None] = lambda _: None
) -> dict[str, int]:
    """Add the recordings below ``folder`` to a session; return how many there are of each kind.

    Kinds are ``transcribed``, ``cues`` (pieces that were cut out), ``untranscribed`` and ``known``
    (there since an earlier call). Whole recordings stay where they are. What cannot be read is told
    to ``on_problem``, and the others go on. Raises ConfigError where there is no recording.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    tables = read_tables(folder)
    found = recordings_in(folder)
    if not found:
        raise ConfigError(f"{folder}: there is no recording in it")
    for path in sorted(tables.keys() - {*found}):
        on_problem(f"{path}: in a table, but there is no such recording")
    counts = dict.fromkeys(("transcribed", "cues", "untranscribed", "known"), 0)
    for path in found:
        try:
            for kind in _import(path, folder, session, tables):
                counts[kind] += 1
        except StreamasrError as error:
            on_problem(str(error))
    return counts


def _import(
    path: Path, folder: Path, session: Session, tables: Mapping[Path, str]
) -> Iterator[str]:
    """Add one recording, or its pieces; yield the kind of each."""
    whole = path.resolve()
    cues = next((c for s in (".srt", ".vtt") if (c := path.with_suffix(s)).is_file()), None)
    if path not in tables and cues is not None:
        yield from _cut(path, read_cues(cues), folder, session)
        return
    if session.has(whole):
        yield "known"
        return
    with open_audio(whole) as audio:
        seconds = sum(len(block) for block in audio.blocks()) / SAMPLE_RATE
    beside = path.with_suffix(".txt")
    said = tables.get(path, "")
    if not said and beside.is_file():
        try:
            said = beside.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{beside}: cannot be read as UTF-8 text") from error
    session.add(whole, seconds, said)
    yield "transcribed" if said.strip() else "untranscribed"


def _cut(path: Path, cues: list[Cue], folder: Path, session: Session) -> Iterator[str]:
    stem = "-".join(path.relative_to(folder).with_suffix("").parts)
    names = [f"{stem}-{number:04d}" for number in range(1, len(cues) + 1)]
    known = [session.has(session.manifest.parent / f"{name}.wav") for name in names]
    if all(known):
        yield from ("known" for _ in cues)
        return
    samples = _decode(path)
    for name, cue, is_known in zip(names, cues, known, strict=True):
        part = samples[round(cue.start * SAMPLE_RATE) : round(cue.end * SAMPLE_RATE)]
        if is_known:
            yield "known"
        elif len(part):
            session.save(part, cue.text, name)
            yield "cues"


def _decode(path: Path) -> NDArray[np.float32]:
    with open_audio(path) as audio:
        return np.concatenate([*audio.blocks(), np.zeros(0, np.float32)])
