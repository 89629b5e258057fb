"""Manifests: tab-separated lists of recordings with a header line.

Columns ``path`` (relative to the manifest) and ``transcript`` are required, ``duration_s`` and
``speaker`` optional; others are ignored.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

__all__ = ["Utterance", "normalise", "read_manifest", "write_manifest"]

_COLUMNS = ("path", "duration_s", "speaker", "transcript")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One line of a manifest; ``duration`` is in seconds, 0 when the manifest does not say."""

    path: Path
    duration: float
    speaker: str
    transcript: str


def normalise(text: str) -> str:
    """Return ``text`` as it is scored: lower case, ``[a-z' ]`` only, single spaces."""
    kept = (c if c in "abcdefghijklmnopqrstuvwxyz'" else " " for c in text.lower())
    return " ".join("".join(kept).split())


def read_manifest(path: str | Path, *, labelled: bool = True) -> list[Utterance]:
    """Read a manifest; raises ConfigError naming the line that is wrong.

    One that is not ``labelled`` may lack the transcripts, which are then empty.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: cannot be read as a manifest ({reason})") from error
    header = rows[0] if rows else []
    needed = ("path", "transcript") if labelled else ("path",)
    if missing := [name for name in needed if name not in header]:
        raise ConfigError(
            f"{path}: no column {missing[0]!r} in the first line; a manifest is tab-separated "
            f"with the header {' '.join(_COLUMNS)}"
        )
    utterances = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) != len(header):
            raise ConfigError(f"{path}:{number}: {len(row)} columns, the header has {len(header)}")
        fields = dict(zip(header, row, strict=True))
        try:
            duration = float(fields.get("duration_s") or 0)
        except ValueError as error:
            raise ConfigError(
                f"{path}:{number}: duration_s is {fields['duration_s']!r}, not a number"
            ) from error
        audio = path.parent / fields["path"]
        utterances.append(
            Utterance(audio, duration, fields.get("speaker", ""), fields.get("transcript", ""))
        )
    return utterances


def write_manifest(path: str | Path, utterances: list[Utterance]) -> None:
    """Write a manifest; audio below its folder is named relative to it."""
    path = Path(path)
    lines = ["\t".join(_COLUMNS)]
    for u in utterances:
        audio = u.path.relative_to(path.parent) if u.path.is_relative_to(path.parent) else u.path
        lines.append(f"{audio}\t{u.duration:.3f}\t{u.speaker}\t{u.transcript}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
