"""What recognition gives back: words with times, segments, transcripts. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Alternative", "Transcript", "Word", "clipped"]


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word.

    ``start`` and ``end`` are seconds from the start of the audio; ``confidence`` is the mean
    posterior of the word's tokens, in [0, 1].
    """

    text: str
    start: float
    end: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Alternative:
    """A reading of a whole recording; ``score`` is its logarithmic weight in the beam search."""

    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The words of one recording and how long the recording was, in seconds.

    ``alternatives`` are its best hypotheses, the best first, if more than one was asked for.
    """

    words: tuple[Word, ...] = ()
    duration: float = 0.0
    alternatives: tuple[Alternative, ...] = ()

    @property
    def text(self) -> str:
        """The words joined by single spaces; empty when nothing was said."""
        return " ".join(word.text for word in self.words)


def clipped(word: Word, duration: float) -> Word:
    """Clip a word that the closing silence carried past the end of the audio."""
    if word.end <= duration:
        return word
    return Word(word.text, min(word.start, duration), duration, word.confidence)
