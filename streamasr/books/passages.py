"""Decontaminate text: leave out passages of evaluation sets, and duplicate lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

__all__ = ["Passages", "new_lines"]


class Passages:
    """The 7-grams of evaluation texts.

    A language model that has read what the evaluation audio says looks better than it is.
    """

    words_in_a_row = 7

    def __init__(self, lines: Iterable[str]) -> None:
        self._known = {passage for line in lines for passage in self._passages(line)}

    def __len__(self) -> int:
        return len(self._known)

    def _passages(self, line: str) -> Iterator[int]:
        words = line.split()
        for start in range(len(words) - self.words_in_a_row + 1):
            yield hash(tuple(words[start : start + self.words_in_a_row]))

    def shared(self, line: str) -> bool:
        """Say whether a line shares seven words in a row with them."""
        return not self._known.isdisjoint(self._passages(line))


def new_lines(lines: Iterable[str], seen: set[int]) -> Iterator[str]:
    """Yield the lines whose hash is not in ``seen``, which grows by theirs.

    Hashes of 64 bits: of a hundred million lines not one is expected to be lost by chance.
    """
    for line in lines:
        known = hash(line)
        if known not in seen:
            seen.add(known)
            yield line
