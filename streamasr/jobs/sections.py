"""Cut long recordings at pauses into sections, which are recognised side by side.

Each section also holds the audio just before and just after it: the model adapts to the speaker
before its first word counts, and receives all of its last word. A word belongs to the section in
which its middle lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..transcript import Word

__all__ = ["Section", "cut_at_pauses", "own_words"]

SHORTEST, LONGEST = 30.0, 60.0
"""A section ends at the quietest moment between these, in seconds."""
BEFORE, AFTER = 6.0, 1.0
"""Seconds of context that a section has of its neighbours."""

_PAUSE = 0.3  # seconds over which quiet is measured


@dataclass(frozen=True, slots=True)
class Section:
    """A section of a recording; it owns the words from ``start`` to ``end``, in seconds.

    ``samples (n,)`` begin at ``offset`` seconds, before ``start``, and go on after ``end``.
    """

    samples: NDArray[np.float32]
    offset: float
    start: float
    end: float

    def own_seconds(self, duration: float) -> float:
        """Return how much of the recording it owns, where its samples last ``duration`` seconds."""
        return min(self.end, self.offset + duration) - self.start


def cut_at_pauses(blocks: Iterable[NDArray[np.float32]], sample_rate: int) -> Iterator[Section]:
    """Yield the sections of a recording, in order, whatever blocks it comes in.

    Memory is that of a few sections. An error of ``blocks`` follows the section that it cut short.
    """
    shortest, longest = round(SHORTEST * sample_rate), round(LONGEST * sample_rate)
    before, after = round(BEFORE * sample_rate), round(AFTER * sample_rate)
    kept: list[NDArray[np.float32]] = []
    length = 0
    offset = start = 0  # of the kept samples, and of the section, from the start of the recording

    def section(samples: NDArray[np.float32], cut: int, end: float) -> Section:
        own = samples[: cut - offset + after]
        return Section(own.copy(), offset / sample_rate, start / sample_rate, end)

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
            yield section(samples, cut, cut / sample_rate)
            new = max(0, cut - before)
            kept, length = [samples[new - offset :]], length - (new - offset)
            offset, start = new, cut
    if offset + length > start:
        samples = np.concatenate(kept)
        yield section(samples, offset + length, float("inf"))
    if problem:
        raise problem


def _quietest(samples: NDArray[np.float32], shortest: int, sample_rate: int) -> int:
    """Return the middle of the quietest window that begins at ``shortest`` samples or later."""
    window = round(_PAUSE * sample_rate)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples[shortest:], dtype=np.float64))])
    return shortest + int(np.argmin(energy[window:] - energy[:-window])) + window // 2


def own_words(section: Section, words: Iterable[Word]) -> list[Word]:
    """Return the words that belong to ``section``, timed from the start of the recording.

    ``words`` are timed from the section's first sample.
    """
    moved = (
        Word(w.text, w.start + section.offset, w.end + section.offset, w.confidence) for w in words
    )
    return [word for word in moved if section.start <= (word.start + word.end) / 2 < section.end]
