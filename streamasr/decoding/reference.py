"""The beam search without arrays, plain and slow: what both engines are tested against.

Hypotheses are dictionary entries, scores are Python floats (float64), the lexicon is a list of
spellings and the n-gram model a function. It follows the same rules as the kernel; with a beam and
a threshold so wide that nothing is pruned, a text's score is the sum over all CTC alignments of all
its spellings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial

__all__ = ["Spelling", "search"]

LmScore = Callable[[Hashable, int], tuple[float, Hashable]]


@dataclass(frozen=True)
class Spelling:
    """A word and its tokens, and what the word scores at the start: its look-ahead."""

    word: int
    tokens: tuple[int, ...]
    look_ahead: float


@dataclass(frozen=True)
class _Place:
    """The state of a hypothesis.

    ``prefix`` holds the units of a word so far, empty between words; ``sounds`` is the unit that
    lasts, 0 behind a blank; ``left`` is the token before ``prefix``, 0 where it does not matter.
    """

    prefix: tuple[int, ...] = ()
    sounds: int = 0
    left: int = 0


@dataclass(frozen=True)
class _Path:
    """The score of a hypothesis, and its share by the look-ahead and by the n-gram model."""

    score: float
    ahead: float
    lm_state: Hashable


_Paths = dict[tuple[_Place, tuple[int, ...]], _Path]


def _offer(found: _Paths, place: _Place, words: tuple[int, ...], path: _Path) -> None:
    """Add a path, or its probability to that of the same place and words."""
    before = found.get((place, words))
    if before is not None:
        path = replace(path, score=_log_add(before.score, path.score))
    found[place, words] = path


def search(
    log_probs: Sequence[Sequence[float]],
    spellings: Sequence[Spelling],
    lm_score: LmScore,
    start: Hashable,
    *,
    lm_weight: float,
    word_score: float,
    units: Sequence[Sequence[int]],
    contextual: bool = False,
    silence: int = 0,
    end: int | None = None,
    beam: int | None = None,
    threshold: float = math.inf,
) -> dict[tuple[int, ...], float]:
    """Return the score of every text that is left after ``log_probs (T, U)``, ended words only.

    Args:
        log_probs: natural logarithms; column 0 is the blank.
        spellings: what the tree is made of.
        lm_score: ``(state, word) -> (log10 probability, state)``.
        start: the n-gram state at the beginning.
        lm_weight: of powers of ten.
        word_score: added for each word.
        units: the column of a token behind the token before it.
        contextual: whether columns differ by the token before.
        silence: the token that separates spelled words, 0 for none.
        end: the n-gram model's ``</s>``.
        beam: how many hypotheses remain, all when None.
        threshold: how far below the best one, in nats.
    """
    below: dict[tuple[int, ...], float] = {}
    ends: dict[tuple[int, ...], list[int]] = {}
    for spelling in spellings:
        for size in range(1, len(spelling.tokens) + 1):
            prefix = spelling.tokens[:size]
            below[prefix] = max(below.get(prefix, -math.inf), spelling.look_ahead)
        ends.setdefault(spelling.tokens, []).append(spelling.word)
    children: dict[tuple[int, ...], list[int]] = {}
    for prefix in below:
        children.setdefault(prefix[:-1], []).append(prefix[-1])
    paths: _Paths = {(_Place(), ()): _Path(0.0, 0.0, start)}
    for frame in log_probs:
        found: _Paths = {}
        offer = partial(_offer, found)
        for (place, words), path in paths.items():
            last = place.prefix[-1] if place.prefix else place.left
            if not place.prefix or place.prefix in children:
                left = place.left if contextual and not place.prefix else 0
                blank = _Place(place.prefix, 0, left)
                offer(blank, words, _plus(path, frame[0]))
            if place.sounds:
                offer(place, words, _plus(path, frame[place.sounds]))
            if silence and not place.prefix and place.sounds != silence:
                offer(_Place((), silence, 0), words, _plus(path, frame[silence]))
            for token in children.get(place.prefix, ()):
                unit = units[last if contextual or place.prefix else 0][token]
                if unit == place.sounds and place.prefix:
                    continue
                prefix = (*place.prefix, token)
                extended = path.score - path.ahead + frame[unit]
                if prefix in children:
                    ahead = lm_weight * below[prefix]
                    left = last if contextual and not place.prefix else 0
                    into = _Place(prefix, unit, left)
                    offer(into, words, _Path(extended + ahead, ahead, path.lm_state))
                for word in ends.get(prefix, ()):
                    value, state = lm_score(path.lm_state, word)
                    after = _Place((), unit, token if contextual else 0)
                    score = extended + lm_weight * value + word_score
                    offer(after, (*words, word), _Path(score, 0.0, state))
        best = max(path.score for path in found.values())
        kept = sorted(found.items(), key=lambda item: -item[1].score)[:beam]
        paths = {key: path for key, path in kept if best - path.score <= threshold}
    texts: dict[tuple[int, ...], float] = {}
    for (place, words), path in paths.items():
        if not place.prefix:
            score = path.score
            if end is not None:
                score += lm_weight * lm_score(path.lm_state, end)[0]
            texts[words] = _log_add(texts[words], score) if words in texts else score
    return texts


def _plus(path: _Path, log_prob: float) -> _Path:
    return _Path(path.score + log_prob, path.ahead, path.lm_state)


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))
