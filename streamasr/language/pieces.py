"""Word pieces: how the language model spells words, those that no lexicon has, too."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..errors import ModelError

__all__ = ["BOUNDARY", "PIECES", "Pieces"]

PIECES = "pieces.txt"
BOUNDARY = "</s>"  # between sentences; its place is 0
_BEGIN = "\u2581"  # begins a word's first piece, as sentencepiece writes it


class Pieces:
    """A list of pieces, the longest of which that fits begins a word (Schuster and Nakajima 2012).

    Raises ModelError for a list without ``</s>`` at its head.
    """

    def __init__(self, pieces: Sequence[str]) -> None:
        if not pieces or pieces[0] != BOUNDARY:
            raise ModelError(f"the first piece must be {BOUNDARY}")
        self.pieces = tuple(pieces)
        self._places = {piece: place for place, piece in enumerate(self.pieces)}
        self._longest = max(map(len, self.pieces))
        self.encode = lru_cache(maxsize=200_000)(self._encode)

    def __len__(self) -> int:
        return len(self.pieces)

    def _encode(self, word: str) -> tuple[int, ...]:
        """Return the places of a word's pieces; a letter that is no piece is left out."""
        rest, found = _BEGIN + word, []
        while rest:
            for size in range(min(self._longest, len(rest)), 0, -1):
                place = self._places.get(rest[:size])
                if place is not None:
                    found.append(place)
                    break
            else:
                size = 1
            rest = rest[size:]
        return tuple(found)

    @classmethod
    def read(cls, path: Path) -> Pieces:
        """Read a list, one piece a line; raises ModelError."""
        try:
            pieces = path.read_text(encoding="utf-8").split()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise ModelError(f"{path}: not UTF-8 text") from error
        try:
            return cls(pieces)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    def write(self, path: Path) -> None:
        """Write the list, one piece a line."""
        path.write_text("".join(f"{piece}\n" for piece in self.pieces), encoding="utf-8")
