"""Read a lexicon: a word and its tokens a line."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from ..errors import ModelError

__all__ = ["WORDS", "read_entries", "read_lexicon"]

WORDS = "lexicon.txt"


def _lexicon_file(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    return packed if packed.exists() and not path.exists() else path


def read_lexicon(path: Path) -> str:
    """Return the text of a lexicon; where there is none, that of ``<path>.gz``.

    Raises OSError or ValueError for one that cannot be read.
    """
    found = _lexicon_file(path)
    if found == path:
        return path.read_text(encoding="utf-8")
    try:
        return gzip.decompress(found.read_bytes()).decode()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError("damaged") from error


def read_entries(path: Path) -> dict[str, list[tuple[str, ...]]]:
    """Return each word's spellings, in tokens; raises ModelError."""
    entries: dict[str, list[tuple[str, ...]]] = {}
    try:
        text = read_lexicon(path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelError(f"{_lexicon_file(path)}: not UTF-8 text, or damaged") from error
    for line in text.splitlines():
        if line.strip():
            word, *spelling = line.split()
            entries.setdefault(word, []).append(tuple(spelling))
    return entries
