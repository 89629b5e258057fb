"""Common Voice (Ardila et al. 2020): a TSV file a split, recordings in ``clips/`` beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import ConfigError
from ..failures import Failure
from .entry import Entry, text_lines

__all__ = ["read_common_voice"]

_SPEAKER_DIGITS = 16


def read_common_voice(source: Path, on_failure: Callable[[Failure], None]) -> Iterator[Entry]:
    """Yield the utterances of a split's TSV file, or of ``validated.tsv`` in a folder."""
    table = source / "validated.tsv" if source.is_dir() else source
    lines = text_lines(table)
    header = next(lines, "").split("\t")
    for name in ("path", "sentence"):
        if name not in header:
            raise ConfigError(f"{table}: no column {name!r}: not a split of Common Voice")
    for number, line in enumerate(lines, start=2):
        row = line.split("\t")
        if len(row) != len(header):
            problem = f"{table}:{number}: {len(row)} columns, the header has {len(header)}"
            on_failure(Failure(table, problem))
            continue
        fields = dict(zip(header, row, strict=True))
        path = table.parent / "clips" / fields["path"]
        if not path.suffix:  # the first releases left it out
            path = path.with_suffix(".mp3")
        speaker = fields.get("client_id", "")[:_SPEAKER_DIGITS]
        yield Entry(path, fields["sentence"], f"common-voice-{speaker}" if speaker else "")
