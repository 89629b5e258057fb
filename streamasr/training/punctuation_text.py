"""Books as rows of words with the marks behind them: what the tagger learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..books import book_text, is_copyrighted, is_english, marked_words, prose_of_book
from ..errors import ConfigError
from ..text.features import WordTable
from ..text.labels import MARKS, UNKNOWN

__all__ = ["MarkedText", "encode_books", "frequent_words", "rows_of", "word_list"]

_LABELS = {mark: label for label, mark in enumerate(MARKS)} | {None: UNKNOWN}
_CAPITALS = {False: 0, True: 1, None: UNKNOWN}


@dataclass(frozen=True, slots=True)
class MarkedText:
    """Words by their place in a list, the label of the mark behind each, and of its capital."""

    words: NDArray[np.int32]
    marks: NDArray[np.int8]
    capitals: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.words)

    def save(self, path: Path) -> None:
        """Write all three rows into one file."""
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.savez(file, words=self.words, marks=self.marks, capitals=self.capitals)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> MarkedText:
        """Read what ``save`` wrote."""
        with np.load(path) as stored:
            return cls(stored["words"], stored["marks"], stored["capitals"])


def encode_books(paths: Sequence[Path], places: dict[str, int]) -> MarkedText:
    """Return the prose of books one behind the other; words that are new are added to ``places``.

    Books that are copyrighted or not English are left out. Raises ConfigError if none is left.
    """
    found = [encoded for path in paths if (encoded := _encode(path, places)) is not None]
    if not found:
        raise ConfigError("no English prose in these books")
    return MarkedText(
        np.concatenate([text.words for text in found]),
        np.concatenate([text.marks for text in found]),
        np.concatenate([text.capitals for text in found]),
    )


def _encode(path: Path, places: dict[str, int]) -> MarkedText | None:
    """Return the prose of one book, None if it has none that may be read."""
    text = book_text(path)
    if is_copyrighted(text):
        return None
    marked = [word for paragraph in prose_of_book(text) for word in marked_words(paragraph)]
    if not marked or not is_english([word.word for word in marked]):
        return None
    return MarkedText(
        np.array([places.setdefault(word.word, len(places)) for word in marked], np.int32),
        np.array([_LABELS[word.mark] for word in marked], np.int8),
        np.array([_CAPITALS[word.capital] for word in marked], np.int8),
    )


def word_list(places: dict[str, int]) -> list[str]:
    """Return the words by place."""
    return sorted(places, key=places.__getitem__)


def frequent_words(text: MarkedText, words: Sequence[str], size: int) -> list[str]:
    """Return the ``size`` most frequent words of a text, the most frequent first."""
    counts = Counter(dict(enumerate(np.bincount(text.words, minlength=len(words)).tolist())))
    return [words[place] for place, count in counts.most_common(size) if count]


def rows_of(table: WordTable, words: Sequence[str]) -> NDArray[np.int32]:
    """Return the rows ``(N + 1, 3)`` of the embeddings of words, the last of a segment's end."""
    return np.array([table.rows(word) for word in [*words, ""]], np.int32)
