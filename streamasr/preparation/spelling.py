"""Transcripts as they are said: numbers and abbreviations in words, and nothing but words."""

from __future__ import annotations

import re
import unicodedata

from ..books import marked_words, plain_text
from ..manifest import normalise

__all__ = ["Unsayable", "as_said"]

_PLAIN = re.compile(r"[A-Z' ]+|[a-z' ]+")
_NOT_SAID = frozenset(" \t\n.,;:!?-\"'()…–—‐‑‒―‘’‚‛“”„«»′´`¿¡")
_SAID = frozenset("&%$£°½¼¾")
# A sign, a currency without a sum, feet and inches: nobody knows how these were read.
_AMBIGUOUS = re.compile(r"(?<!\S)[-–−](?=\d)|[$£](?!\d)|(?<=\d)['′](?=\d)")
_OF_YEARS = re.compile(r"(?<=\d)['’](?=s\b)")


class Unsayable(ValueError):
    """A transcript from which nobody knows what was said; ``sign`` is why."""

    def __init__(self, sign: str) -> None:
        super().__init__(f"{sign!r} cannot be said" if sign else "no words")
        self.sign = sign


def as_said(text: str) -> str:
    """Return ``text`` in capitals, ``[A-Z' ]`` only, with numbers and abbreviations in words.

    Text without marks is taken as it stands. Raises Unsayable for text with a sign that is neither
    silent nor has one way to be said, such as ``#``, a bracket, or a letter of another script, and
    for text without words.
    """
    text = " ".join(text.split())
    if not _PLAIN.fullmatch(text):
        text = _OF_YEARS.sub("", "".join(map(_folded, unicodedata.normalize("NFC", text))))
        if found := _AMBIGUOUS.search(text):
            raise Unsayable(found.group())
        plain = plain_text(text.replace("&", " and "))
        text = " ".join(word.word for word in marked_words(plain))
    said = normalise(text)
    if not said.strip("' "):
        raise Unsayable("")
    return said.upper()


def _folded(character: str) -> str:
    """Return a character without accents; raises Unsayable."""
    if character in _NOT_SAID or character in _SAID:
        return character
    if character.isascii() and character.isalnum():
        return character
    kind = unicodedata.category(character)
    if kind in ("Cf", "Zs"):  # invisible
        return " " if kind == "Zs" else ""
    folded = normalise(character) if kind[0] == "L" else ""
    if not folded:
        raise Unsayable(character)
    return folded.upper() if character.isupper() else folded
