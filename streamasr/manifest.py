"""Manifests: tab-separated lists of recordings with a header line.

Columns ``path`` (relative to the manifest) and ``transcript`` are required, ``duration_s`` and
``speaker`` optional; others are ignored.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import ConfigError

__all__ = ["Utterance", "normalise", "read_manifest", "write_manifest"]

_COLUMNS = ("path", "duration_s", "speaker", "transcript")
# Right quotes; what some write in their place within a word; and U+02BC, the modifier letter.
_APOSTROPHE = re.compile(r"’(?=[^\W\d_])|(?<=[^\W\d_])[‘´`′](?=[^\W\d_])|ʼ")
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "ł": "l", "ħ": "h"}
    | {"ı": "i", "ŋ": "ng", "ŧ": "t"}
)
_UNDECODED = re.compile("[\udc80-\udcff]")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One line of a manifest; ``duration`` is in seconds, 0 when the manifest does not say."""

    path: Path
    duration: float
    speaker: str
    transcript: str


def normalise(text: str) -> str:
    """Return ``text`` as it is scored: lower case, ``[a-z' ]`` only, single spaces.

    Letters with accents lose them (Unicode's NFKD, and what it does not take apart, such as ø), and
    a typographic apostrophe before a letter is one: O’Brien is ``o'brien``, not ``o brien``. Other
    quotation marks, like all that is no letter, end a word; what is invisible does not.
    """
    if not text.isascii() or "`" in text:
        text = "".join(map(_plain, _APOSTROPHE.sub("'", text)))
    kept = (c if c in "abcdefghijklmnopqrstuvwxyz'" else " " for c in text.lower())
    return " ".join("".join(kept).split())


def _plain(character: str) -> str:
    kind = unicodedata.category(character)
    if kind in ("Mn", "Cf"):  # accents by themselves; soft hyphens, byte-order marks, joiners
        return ""
    if character.isascii() or kind[0] != "L":  # signs such as ™ would become letters
        return character
    folded = unicodedata.normalize("NFKD", character.lower().translate(_LETTERS))
    return "".join(c for c in folded if unicodedata.category(c) != "Mn")


def read_manifest(
    path: str | Path, *, labelled: bool = True, report: Callable[[str], None] | None = None
) -> list[Utterance]:
    """Read a manifest; raises ConfigError naming the line that is wrong.

    One that is not ``labelled`` may lack the transcripts, which are then empty. With ``report``, a
    wrong line is passed to it and left out.

    A byte-order mark is skipped. Paths may hold bytes that are not UTF-8; nothing else may.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read as a manifest ({error.strerror})") from error
    if "\0" in text:
        raise ConfigError(f"{path}: not UTF-8 text; a spreadsheet's Unicode text is UTF-16")
    # Not splitlines(), which ends a line at other characters, too.
    header, *rows = [line.split("\t") for line in text.split("\n")]
    needed = ("path", "transcript") if labelled else ("path",)
    if missing := [name for name in needed if name not in header]:
        raise ConfigError(
            f"{path}: no column {missing[0]!r} in the first line; a manifest is tab-separated "
            f"with the header {' '.join(_COLUMNS)}"
        )
    utterances = []
    for number, row in enumerate(rows, start=2):
        if row == [""]:
            continue
        try:
            utterances.append(_utterance(path.parent, header, row))
        except ValueError as error:
            problem = f"{path}:{number}: {error}"
            if report is None:
                raise ConfigError(problem) from error
            report(problem)
    return utterances


def _utterance(folder: Path, header: list[str], row: list[str]) -> Utterance:
    """Return a line's utterance; raises ValueError that says what is wrong."""
    if len(row) != len(header):
        raise ValueError(f"{len(row)} columns, the header has {len(header)}")
    fields = dict(zip(header, row, strict=True))
    audio = fields.pop("path")
    if not audio:
        raise ValueError("the path is empty")
    if any(_UNDECODED.search(value) for value in fields.values()):
        raise ValueError("not UTF-8 text")
    duration = _duration(fields.get("duration_s") or "0")
    speaker, transcript = fields.get("speaker", ""), fields.get("transcript", "")
    return Utterance(folder / audio, duration, speaker, transcript)


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"duration_s is {text!r}, not a number") from None
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"duration_s is {text!r}, not a length in seconds")
    return seconds


def write_manifest(path: str | Path, utterances: list[Utterance]) -> None:
    """Write a manifest; audio below its folder is named relative to it."""
    path = Path(path)
    lines = ["\t".join(_COLUMNS)]
    for u in utterances:
        audio = u.path.relative_to(path.parent) if u.path.is_relative_to(path.parent) else u.path
        lines.append(f"{audio}\t{u.duration:.3f}\t{u.speaker}\t{u.transcript}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
