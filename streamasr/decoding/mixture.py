"""Mix the bundled language models with somebody's own text, word by word.

The probability of a word is a share of the text's and the rest of the bundled model's (linear
interpolation, Jelinek and Mercer 1980): exactly so where a segment's readings are weighed, against
the n-gram and the recurrent model alike. The search itself adds a bonus that depends on the word
and the one before it, so that such readings are found at all.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..hotwords import RARE
from ..language.own_text import END, START, OwnText, mixed
from .arrays import lm_arrays
from .graph import SearchGraph

__all__ = ["SHARE", "Mixture"]

SHARE = 0.1
"""Of the text in a word's probability."""

_LEAST = 0.3  # powers of ten: what is doubled at most is left to the choice among readings
_LN10 = math.log(10)


class Mixture:
    """A text's say beside the language models of a graph. Immutable: threads share one.

    ``words`` are those that the search helps; ``single`` is what each of them earns after any
    word, and ``pairs`` what it earns after a certain one instead, powers of ten above 0.
    """

    def __init__(self, own: OwnText, graph: SearchGraph, share: float = SHARE) -> None:
        self._own, self._graph, self._share = own, graph, share
        self._lm = lm_arrays(graph.lm)
        self.single: dict[str, float] = {}
        self.pairs: dict[str, dict[str, float]] = defaultdict(dict)
        self._enter_bonuses()
        self.words = tuple(sorted({*self.single, *(w for row in self.pairs.values() for w in row)}))

    def _enter_bonuses(self) -> None:
        unigram = self._graph.lm.unigram
        single = {
            word: self._bonus(self._own.probability(word), float(unigram[self._number(word)]))
            for word in self._own.words
        }
        for before, word in self._own.pairs:
            if before == START or word == END:
                continue  # a segment need not begin where a sentence does
            state = int(self._graph.lm.unigram_next[self._number(before)])
            known = self._score(state, self._number(word))[0]
            bonus = self._bonus(self._own.probability(word, (before,)), known)
            if bonus >= _LEAST or single[word] >= _LEAST:
                self.pairs[before][word] = bonus
        helped = {word for row in self.pairs.values() for word in row}
        self.single = {
            word: bonus for word, bonus in single.items() if bonus >= _LEAST or word in helped
        }

    def _bonus(self, own: float, log10_prob: float) -> float:
        """Return how many powers of ten a word gains; the search takes none for rarer than RARE."""
        known = 10 ** max(log10_prob, RARE)
        return math.log10(1 + self._share / (1 - self._share) * own / known)

    def _number(self, word: str) -> int:
        place = self._graph.index.get(word)
        return self._graph.unknown if place is None else int(self._graph.lm_words[place])

    def _score(self, state: int, number: int) -> tuple[float, int]:
        from .kernel import lm_score

        score, following = lm_score(np.int32(state), np.int32(number), self._lm)
        return float(score), int(following)

    def bonus(self, text: Sequence[str]) -> float:
        """Return what the search adds to a text, a power of ten."""
        total, before = 0.0, ""
        for word in text:
            if word in self.single:
                total += self.pairs.get(before, {}).get(word, self.single[word])
            before = word
        return total

    def lm_score(self, text: Sequence[str]) -> float:
        """Return the log10 probability of a segment's words and its end by both models."""
        total, state = 0.0, self._graph.start_state
        row = (START, *text, END)
        for place, word in enumerate(row[1:], start=1):
            number = self._graph.end if word == END else self._number(word)
            score, state = self._score(state, number)
            if number == self._graph.unknown:
                # Its probability is that of all unknown words together: this is one of them.
                score = min(score, RARE)
            own = self._own.probability(word, row[max(0, place - 2) : place])
            total += mixed(self._share, own, _LN10 * score)
        return total / _LN10

    def rescorer_scores(self, text: Sequence[str], scores: Iterable[float]) -> list[float]:
        """Return the logarithms of the words' probabilities by the recurrent model and the text."""
        row = (START, *text)
        return [
            mixed(
                self._share, self._own.probability(word, row[max(0, place - 1) : place + 1]), score
            )
            for place, (word, score) in enumerate(zip(text, scores, strict=True))
        ]

    def numbered(
        self, numbers: Mapping[str, int]
    ) -> tuple[dict[int, float], dict[int, dict[int, float]]]:
        """Return ``single`` and ``pairs`` by the words' numbers; those without one are left out."""
        single = {numbers[word]: bonus for word, bonus in self.single.items() if word in numbers}
        pairs = {}
        for before, row in self.pairs.items():
            known = {numbers[word]: bonus for word, bonus in row.items() if word in numbers}
            place = numbers.get(before, self._graph.index.get(before))
            if known and place is not None:
                pairs[place] = known
        return single, pairs
