"""The output symbols of a head: characters, or phones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from .errors import ModelError

__all__ = ["Tokens"]

BLANK, SPACE = "<blank>", "<space>"
ARPABET = (
    "aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w "
    "y z zh"
)


@dataclass(frozen=True)
class Tokens:
    """Output symbols, by index; the first is the blank."""

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.symbols)) != len(self.symbols):
            raise ModelError("a token is listed twice")
        if self.symbols[:1] != (BLANK,):
            raise ModelError(f"the first token must be {BLANK}")

    @classmethod
    def characters(cls) -> Self:
        """Return the tokens of lower-case English text: blank, space, apostrophe, a to z."""
        return cls((BLANK, SPACE, "'", *"abcdefghijklmnopqrstuvwxyz"))

    @classmethod
    def phones(cls) -> Self:
        """Return the tokens of the CMU dictionary: blank, and ARPAbet without stress."""
        return cls((BLANK, *ARPABET.split()))

    @property
    def blank(self) -> int:
        """Index of the CTC blank."""
        return 0

    @cached_property
    def space(self) -> int | None:
        """Index of the word separator; None where there is none, as among phones."""
        return self.symbols.index(SPACE) if SPACE in self.symbols else None

    @cached_property
    def _index(self) -> dict[str, int]:
        return {" " if s == SPACE else s: i for i, s in enumerate(self.symbols)}

    def encode(self, symbols: Iterable[str]) -> list[int]:
        """Return the indices of ``symbols``, a string's characters or a list of phones.

        Raises KeyError for one that is no token.
        """
        return [self._index[symbol] for symbol in symbols]

    def __len__(self) -> int:
        return len(self.symbols)
