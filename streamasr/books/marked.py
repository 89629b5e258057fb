"""Split a paragraph into spoken words, each with the mark behind it and its capital."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .sentences import SPREAD, TOKEN, Reading, opens_sentence

__all__ = ["MarkedWord", "marked_words"]

_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]*)*")
_ALONE = {"&": "and", "%": "percent"}


class MarkedWord(NamedTuple):
    """A word in lower case, the mark behind it, and whether it begins with a capital.

    ``mark`` is one of ``. , ? ! ; :`` or "", and None where the text has something else: a dash, a
    full stop that may be an abbreviation's. ``capital`` is None where nobody can tell: in numbers,
    and where all is in capitals.
    """

    word: str
    mark: str | None
    capital: bool | None


def marked_words(paragraph: str) -> list[MarkedWord]:
    """Return a paragraph's words; numbers and abbreviations as they are said."""
    for pattern, replacement in SPREAD:
        paragraph = pattern.sub(replacement, paragraph)
    tokens = paragraph.split()
    found: list[MarkedWord] = []
    previous = ""
    for place, token in enumerate(tokens):
        if token in _ALONE:
            found.append(MarkedWord(_ALONE[token], "", False))
            continue
        match = TOKEN.fullmatch(token)
        assert match is not None
        core, tail = match.group("core", "tail")
        spoken, abbreviated = core, False
        if core:
            spoken, abbreviated = Reading(
                core, tail, tokens, place, previous, False, False
            ).spoken()
            previous = core
        words = [*_cased(spoken, core)]
        if not words:
            # A dash by itself: what stands there instead of a mark is not known.
            if found and not found[-1].mark:
                found[-1] = found[-1]._replace(mark=None)
            continue
        found += [MarkedWord(word, "", capital) for word, capital in words]
        found[-1] = found[-1]._replace(mark=_mark(tail, abbreviated, tokens, place))
    if found and not found[-1].mark:
        found[-1] = found[-1]._replace(mark=None)
    return found


def _cased(spoken: str, core: str) -> Iterator[tuple[str, bool | None]]:
    """Yield the words of a token, and whether each begins with a capital."""
    same = spoken.lower() == core.lower()
    for place, text in enumerate(_WORD.findall(core if same else spoken)):
        word = re.sub("'{2,}", "'", text).strip("'")
        if not word:
            continue
        capital: bool | None = word[0].isupper()
        if not same:
            # "Mr" is said "mister"; digits have no capitals.
            capital = core[0].isupper() and not place if core[0].isalpha() else None
        elif len(word) > 1 and word.isupper():
            capital = None
        yield word.lower(), capital


def _mark(tail: str, abbreviated: bool, tokens: list[str], place: int) -> str | None:
    """Return the mark that the signs behind a word amount to."""
    for sign in "?!":
        if sign in tail:
            return sign
    if "." in tail and not abbreviated:
        return "." if opens_sentence(tokens, place) else None
    for sign in ";:,":
        if sign in tail:
            return sign
    return ""
