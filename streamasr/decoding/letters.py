"""Letter-to-sound rules: the phones of words that no lexicon has.

Each letter of a word is given its phones, none, one or two, by the widest context known around it,
as in the compressed decision trees of Daelemans and van den Bosch 1996 (IGTree).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["CONTEXTS", "RULES", "context", "pronounce", "read_rules"]

RULES = "letters.txt"
# Letters to the left and to the right, from the narrowest context to the widest.
CONTEXTS = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3))
_WIDEST_FIRST = CONTEXTS[::-1]
_EDGE = "###"


def context(word: str, position: int, left: int, right: int) -> str:
    """Return the letter at ``position``, as a capital, between its neighbours; ``#`` is the end."""
    padded, place = f"{_EDGE}{word}{_EDGE}", position + len(_EDGE)
    before, after = padded[place - left : place], padded[place + 1 : place + 1 + right]
    return before + word[position].upper() + after


def pronounce(word: str, rules: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the phones of ``word``, lower case, a to z; empty if it has none."""
    padded = f"{_EDGE}{word}{_EDGE}"
    phones: list[str] = []
    for place in range(len(_EDGE), len(_EDGE) + len(word)):
        letter = padded[place].upper()
        for left, right in _WIDEST_FIRST:
            # As ``context`` does; a call for each takes half of the time of a list of hotwords.
            around = padded[place - left : place] + letter + padded[place + 1 : place + 1 + right]
            found = rules.get(around)
            if found is not None:
                phones += found
                break
    return tuple(phones)


def read_rules(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a context and its phones a line; an absent file has no rules."""
    if not path.is_file():
        return {}
    lines = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {line[0]: tuple(line[1:]) for line in lines if line}
