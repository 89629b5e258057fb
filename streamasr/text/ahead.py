"""Words of which more may follow."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Ahead"]


class Ahead:
    """Words by place; ``""`` stands before the first and behind the last one.

    ``overran`` tells whether anything behind the last word was read: what a rule says without
    that holds whatever words follow.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words
        self.overran = False

    def __len__(self) -> int:
        return len(self._words)

    def __getitem__(self, place: int) -> str:
        if place >= len(self._words):
            self.overran = True
            return ""
        return self._words[place] if place >= 0 else ""

    def match(self, place: int, phrase: Sequence[str]) -> bool:
        """Say whether ``phrase`` stands at ``place``; read up to the first difference."""
        return all(self[place + k] == word for k, word in enumerate(phrase))
