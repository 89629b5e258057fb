"""Noise as recognition adds it to text: pauses, ends of segments, words that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..text.features import PAUSE_LIMITS
from ..text.labels import ENDS, MARKS, UNKNOWN
from .punctuation_text import MarkedText

__all__ = ["Confusions", "Noise", "NoisyText", "add_noise"]

_LONG = 0.8  # seconds of silence that end a segment

# By mark: how often a pause of a tenth of a second or more follows, and the median of its seconds,
# as measured in readings of books (docs/text.md).
_PAUSES = {"": (0.08, 0.18), ",": (0.86, 0.45), ";": (0.97, 0.75), ":": (0.97, 0.75)}
_PAUSES |= {".": (0.99, 1.0), "?": (0.99, 1.0), "!": (0.99, 1.0)}


@dataclass(frozen=True, slots=True)
class Noise:
    """How much noise is added.

    ``errors``: share of words that are wrong, lost or added, in the mean of the texts that have
    errors at all; ``clean``: share of those that have none; ``timeless``: share of texts without
    pauses, as plain text has none. ``breaks``: how often a long pause ends a segment, or, where
    there are no pauses, the end of a sentence does. ``pauses``: by mark, how often a pause follows
    it and its median in seconds; ``spread`` is of the logarithm of a pause, ``pace`` of a speaker's
    mean.
    """

    errors: float = 0.12
    clean: float = 0.3
    timeless: float = 0.25
    breaks: float = 0.5
    spread: float = 0.5
    pace: float = 0.4
    pauses: dict[str, tuple[float, float]] = field(default_factory=lambda: dict(_PAUSES))


@dataclass(frozen=True, slots=True)
class NoisyText:
    """``words (N,)`` with noise, the class of the ``pauses`` before them, and their labels.

    Word -1 is the end of a segment.
    """

    words: NDArray[np.int32]
    pauses: NDArray[np.int8]
    marks: NDArray[np.int8]
    capitals: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Confusions:
    """Confusions: what is recognised instead of a word.

    ``frequent (M,)``: words as often as they occur, to add and to put in another's place;
    ``similar (N, K)``: the words that each word may be taken for.
    """

    frequent: NDArray[np.int32]
    similar: NDArray[np.int32]

    @classmethod
    def of(cls, text: MarkedText, words: Sequence[str], least: int = 30) -> Confusions:
        """Take words for similar that begin or end alike; only such that occur ``least`` times."""
        counts = np.bincount(text.words, minlength=len(words))
        known = counts >= min(least, counts.max())
        similar = np.empty((len(words), 4), np.int32)
        for column, reverse in ((0, False), (2, True)):
            spelled = [word[::-1] for word in words] if reverse else words
            order = np.array(sorted(range(len(words)), key=spelled.__getitem__))
            usual = np.flatnonzero(known[order])
            # The usual words before and behind each one, in the order of the alphabet.
            at = np.searchsorted(usual, np.arange(len(words)))
            before, behind = np.clip(at - 1, 0, None), np.clip(at + 1, None, len(usual) - 1)
            similar[order, column] = order[usual[before]]
            similar[order, column + 1] = order[usual[behind]]
        step = max(1, len(text) // 1_000_000)
        return cls(np.ascontiguousarray(text.words[::step]), similar)


def add_noise(
    text: MarkedText,
    noise: Noise,
    rng: np.random.Generator,
    confusions: Confusions,
    look_ahead: int = 1,
) -> NoisyText:
    """Add pauses, segment ends, and substituted, deleted and inserted words to a text.

    Segments end with as many words -1 as it takes to decide all before.
    """
    frequent, similar = confusions.frequent, confusions.similar
    words, marks, capitals = text.words.copy(), text.marks.copy(), text.capitals.copy()
    before = np.concatenate([np.zeros(1, np.int8), marks[:-1]])
    pauses = _pauses(before, noise, rng)
    if rng.random() >= noise.clean:
        rate = min(0.4, noise.errors * rng.exponential())
        kind = rng.random(len(words))
        wrong = kind < 0.7 * rate
        alike = rng.integers(similar.shape[1], size=len(words))
        taken = np.where(rng.random(len(words)) < 0.75, similar[words, alike], -1)
        drawn = frequent[rng.integers(len(frequent), size=len(words))]
        words[wrong] = np.where(taken >= 0, taken, drawn)[wrong]
        lost = (kind >= 0.7 * rate) & (kind < 0.85 * rate)
        lost[0] = False
        _keep_marks(marks, lost)
        added = (kind >= 0.85 * rate) & (kind < rate)
        kept = ~lost
        order = np.repeat(np.arange(len(words)), kept + (added & kept).astype(np.int64))
        extra = np.zeros(len(order), bool)
        extra[1:] = order[1:] == order[:-1]
        words, pauses, capitals = words[order], pauses[order], capitals[order]
        marks = marks[order]
        # The word that was added comes behind; the mark is behind both.
        marks[:-1][extra[1:]] = 0
        words[extra] = frequent[rng.integers(len(frequent), size=int(extra.sum()))]
        capitals[extra] = UNKNOWN
        if pauses[0]:
            pauses[extra] = 1
    return _broken(NoisyText(words, pauses, marks, capitals), noise, rng, look_ahead + 1)


def _broken(noisy: NoisyText, noise: Noise, rng: np.random.Generator, count: int) -> NoisyText:
    """End segments in front of some words, with ``count`` words -1."""
    if noisy.pauses[0]:
        may = noisy.pauses > np.searchsorted(PAUSE_LIMITS, _LONG, side="right")
    else:
        ends = [MARKS.index(mark) for mark in ENDS]
        may = np.concatenate([[False], np.isin(noisy.marks[:-1], ends)])
    places = np.flatnonzero(may & (rng.random(len(may)) < noise.breaks))
    places = np.repeat(places[places > 0], count)
    return NoisyText(
        np.insert(noisy.words, places, -1),
        np.insert(noisy.pauses, places, 0),
        np.insert(noisy.marks, places, UNKNOWN),
        np.insert(noisy.capitals, places, UNKNOWN),
    )


def _keep_marks(marks: NDArray[np.int8], lost: NDArray[np.bool_]) -> None:
    """Give the mark behind a word that is lost to the word before it."""
    for place in np.flatnonzero(lost):
        if marks[place] and not marks[place - 1]:
            marks[place - 1] = marks[place]


def _pauses(before: NDArray[np.int8], noise: Noise, rng: np.random.Generator) -> NDArray[np.int8]:
    """Draw the classes of the pauses in front of words that ``before`` marks stand in front of."""
    if rng.random() < noise.timeless:
        return np.zeros(len(before), np.int8)
    table = np.array([noise.pauses[mark] for mark in MARKS])
    # A dash is a pause as often as a comma.
    label = np.where(before == UNKNOWN, MARKS.index(","), before)
    often, median = table[label].T
    pace = np.exp(noise.pace * rng.standard_normal())
    share = often ** np.exp(0.3 * rng.standard_normal())
    seconds = median * pace * np.exp(noise.spread * rng.standard_normal(len(before)))
    seconds = np.where(rng.random(len(before)) < share, seconds, 0.02)
    return (1 + np.searchsorted(PAUSE_LIMITS, seconds, side="right")).astype(np.int8)
