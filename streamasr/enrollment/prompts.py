"""The sentences that ``streamasr enroll`` shows, and how they were chosen.

They are written for this project and free to use, and stand in the order in which a greedy choice
takes them: the next one is that with the most pairs of neighbouring phones that none before it has,
for its length (van Santen and Buchsbaum 1997). So the first twenty are nearly as good as all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import pairwise

from ..manifest import normalise

__all__ = ["choose", "diphones", "sentences"]

Spellings = Mapping[str, Sequence[Sequence[int]]]


def sentences() -> list[str]:
    """Return the sentences to read."""
    text = files(__package__).joinpath("sentences.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip()]


def diphones(sentence: str, spellings: Spellings) -> set[tuple[int, int]]:
    """Return the pairs of phones in a sentence, by the first of each word's ``spellings``.

    0 stands for the silence at both ends.
    """
    words = normalise(sentence).split()
    phones = [phone for word in words for phone in next(iter(spellings[word]), ())]
    return {*pairwise([0, *phones, 0])}


def choose(candidates: Sequence[str], count: int, spellings: Spellings) -> list[str]:
    """Return ``count`` of the ``candidates`` that have many pairs of phones for their length."""
    left = {s: diphones(s, spellings) for s in candidates}
    chosen: list[str] = []
    covered: set[tuple[int, int]] = set()
    while left and len(chosen) < count:
        best = max(left, key=lambda s: (len(left[s] - covered) / len(s), s))
        covered |= left.pop(best)
        chosen.append(best)
    return chosen
