"""Long recordings in pieces, cut at pauses, so that they can be heard side by side.

Each piece also holds what was said just before it and just after it: the model comes to know the
speaker before its first word counts, and hears its last word out. A word belongs to the piece in
which its middle lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..transcript import Word

__all__ = ["Piece", "cut_at_pauses", "own_words"]

SHORTEST, LONGEST = 30.0, 60.0
"""A piece ends at the quietest moment between these, in seconds."""
BEFORE, AFTER = 6.0, 1.0
"""Seconds that a piece hears of its neighbours."""

_PAUSE = 0.3  # seconds over which quiet is measured


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a recording; it owns what was said from ``start`` to ``end``, in seconds.

    ``samples (n,)`` begin at ``offset`` seconds, before ``start``, and go on after ``end``.
    """

    samples: NDArray[np.float32]
    offset: float
    start: float
    end: float

    def own_seconds(self, heard: float) -> float:
        """Return how much of the recording it owns, where its samples last ``heard`` seconds."""
        return min(self.end, self.offset + heard) - self.start


def cut_at_pauses(blocks: Iterable[NDArray[np.float32]], sample_rate: int) -> Iterator[Piece]:
    """Yield the pieces of a recording, in order, whatever blocks it comes in.

    Memory is that of a few pieces. An error of ``blocks`` comes after the piece that it cut short.
    """
    shortest, longest = round(SHORTEST * sample_rate), round(LONGEST * sample_rate)
    before, after = round(BEFORE * sample_rate), round(AFTER * sample_rate)
    kept: list[NDArray[np.float32]] = []
    length = 0
    offset = start = 0  # of the kept samples, and of the piece, from the start of the recording

    def piece(samples: NDArray[np.float32], cut: int, end: float) -> Piece:
        heard = samples[: cut - offset + after]
        return Piece(heard.copy(), offset / sample_rate, start / sample_rate, end)

    problem: Exception | None = None
    source = iter(blocks)
    while True:
        try:
            block = next(source, None)
        except Exception as error:  # kept until what came before it is delivered
            problem, block = error, None
        if block is None:
            break
        kept.append(block)
        length += len(block)
        while offset + length >= start + longest + after:
            samples = np.concatenate(kept)
            first = start - offset
            cut = start + _quietest(samples[first : first + longest], shortest, sample_rate)
            yield piece(samples, cut, cut / sample_rate)
            new = max(0, cut - before)
            kept, length = [samples[new - offset :]], length - (new - offset)
            offset, start = new, cut
    if offset + length > start:
        samples = np.concatenate(kept)
        yield piece(samples, offset + length, float("inf"))
    if problem:
        raise problem


def _quietest(samples: NDArray[np.float32], shortest: int, sample_rate: int) -> int:
    """Return the middle of the quietest window that begins at ``shortest`` samples or later."""
    window = round(_PAUSE * sample_rate)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples[shortest:], dtype=np.float64))])
    return shortest + int(np.argmin(energy[window:] - energy[:-window])) + window // 2


def own_words(piece: Piece, words: Iterable[Word]) -> list[Word]:
    """Return the words that belong to ``piece``, timed from the start of the recording.

    ``words`` are timed from the piece's first sample.
    """
    moved = (
        Word(w.text, w.start + piece.offset, w.end + piece.offset, w.confidence) for w in words
    )
    return [word for word in moved if piece.start <= (word.start + word.end) / 2 < piece.end]
