"""What the tagger sees of a word: itself if it is frequent, its ends, and the pause before it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from zlib import crc32

from ..errors import ModelError

__all__ = ["PAUSES", "PAUSE_LIMITS", "WordTable", "pause_class"]

_AFFIX = 3  # letters of a prefix or a suffix

PAUSE_LIMITS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2)
"""Seconds at which one class of pauses ends and the next begins."""

PAUSES = len(PAUSE_LIMITS) + 2
"""Classes of pauses; class 0 is a pause that nobody measured."""


def pause_class(seconds: float | None) -> int:
    """Return the class of a pause, None where it is not known."""
    return 0 if seconds is None else 1 + bisect_right(PAUSE_LIMITS, seconds)


class WordTable:
    """Rows of the embeddings that a word is the sum of: its own, its prefix', its suffix'.

    Row 0 is of the end of all words, row 1 of every word that is not among ``words``; the affixes
    are hashed onto ``affixes`` rows (Weinberger et al. 2009). Raises ModelError for words that
    occur twice.
    """

    def __init__(self, words: Sequence[str], affixes: int = 4096) -> None:
        self.words, self.affixes = tuple(words), affixes
        self._places = {word: place for place, word in enumerate(words, 2)}
        if len(self._places) != len(self.words):
            raise ModelError("a word occurs twice in the tagger's list")
        self.rows = lru_cache(maxsize=50_000)(self._rows)

    def __len__(self) -> int:
        return 2 + len(self.words) + self.affixes

    def _rows(self, word: str) -> tuple[int, int, int]:
        """Return the three rows of a word; of "", the end of all words, the first one thrice."""
        if not word:
            return 0, 0, 0
        first = 2 + len(self.words)
        prefix = crc32(b"^" + word[:_AFFIX].encode()) % self.affixes
        suffix = crc32(word[-_AFFIX:].encode() + b"$") % self.affixes
        return self._places.get(word, 1), first + prefix, first + suffix

    @classmethod
    def read(cls, path: Path, affixes: int) -> WordTable:
        """Read a list of words, one a line; raises ModelError."""
        try:
            return cls(path.read_text(encoding="utf-8").split(), affixes)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ModelError(f"{path}: not UTF-8 text") from error

    def write(self, path: Path) -> None:
        """Write the list, one word a line."""
        path.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")
