"""Build a back-off automaton from an n-gram model: states are contexts, arcs are words.

A word without an arc is scored by adding the state's back-off and asking its back-off state, down
to state 0, the empty context, where every word has a unigram (Katz 1987; Mohri et al. 2002).
Probabilities and back-offs of all but the unigrams are rounded to 256 values each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import ModelError
from .arpa import NGrams

__all__ = ["MOST_STATES", "MOST_WORDS", "Automaton", "build_automaton"]

MOST_WORDS = 1 << 20
MOST_STATES = 1 << 24
_CODES = 256
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Automaton:
    """The arrays of an n-gram model with S states, A arcs and V words; powers of ten.

    ``state_arcs (S + 1,)`` int32: the first arc of each state; its last stands before the next's.
    ``state_backoff (S,)`` uint32: back-off state, and in the upper 8 bits the back-off's code.
    ``arcs (A,)`` uint32: a word, and in the upper 8 bits its probability's code. Within a state
    arcs ascend by word. ``unigram (V,)`` float32 and ``unigram_next (V,)`` int32 are state 0's.
    ``arc_values`` and ``backoff_values (256,)`` float32 are what the codes mean.

    Where an arc leads is not stored. ``arc_states (ceil(A / 64),)`` uint64 has a bit for each arc
    whose n-gram is a state itself; such states follow those of the unigrams in the order of their
    arcs, and ``arc_ranks``, int32, is how many there are before each word of 64 bits. From another
    arc the way leads on where the same word leads from the back-off state.
    """

    state_arcs: NDArray[np.int32]
    state_backoff: NDArray[np.uint32]
    arcs: NDArray[np.uint32]
    arc_states: NDArray[np.uint64]
    arc_ranks: NDArray[np.int32]
    unigram: NDArray[np.float32]
    unigram_next: NDArray[np.int32]
    arc_values: NDArray[np.float32]
    backoff_values: NDArray[np.float32]

    @property
    def first_arc_state(self) -> int:
        """The first of the states that are arcs' n-grams: state 0 and the unigrams' come before."""
        return 1 + int(np.count_nonzero(self.unigram_next))

    def best_of_words(self) -> NDArray[np.float32]:
        """Return the most that each word can score in any context, ``(V,)``."""
        best = self.unigram.copy()
        codes = self.arcs >> np.uint32(24)
        words = self.arcs & np.uint32(0xFFFFFF)
        np.maximum.at(best, words, self.arc_values[codes])
        return best

    def scores_after(self, word: int) -> NDArray[np.float32]:
        """Return the probability of each word after ``word``, ``(V,)``."""
        state = int(self.unigram_next[word])
        if state == 0:
            return self.unigram.copy()
        code = int(self.state_backoff[state] >> np.uint32(24))
        scores: NDArray[np.float32] = self.unigram + self.backoff_values[code]
        arcs = self.arcs[self.state_arcs[state] : self.state_arcs[state + 1]]
        scores[arcs & np.uint32(0xFFFFFF)] = self.arc_values[arcs >> np.uint32(24)]
        return scores


def build_automaton(orders: Sequence[NGrams]) -> Automaton:
    """Return the automaton of n-grams as ``read_arpa`` gives them.

    Raises ModelError where the context of an n-gram is missing, or there are too many.
    """
    vocabulary = len(orders[0].words)
    if vocabulary > MOST_WORDS:
        raise ModelError(f"{vocabulary} words: a search graph holds at most {MOST_WORDS}")
    sorted_orders = _Sorted(orders, vocabulary)
    first, backoff, backoff_state = sorted_orders.states()
    if len(backoff) > MOST_STATES:
        raise ModelError(f"{len(backoff)} n-gram states: a search graph holds {MOST_STATES}")
    word, log10_prob, is_state = sorted_orders.arcs()
    bits = np.packbits(is_state, bitorder="little")
    arc_states = np.pad(bits, (0, -len(bits) % 8)).view(np.uint64)
    ranks = np.bitwise_count(arc_states).astype(np.int32)
    arc_values, arc_codes = _quantise(log10_prob)
    backoff_values, backoff_codes = _quantise(backoff)
    return Automaton(
        state_arcs=first.astype(np.int32),
        state_backoff=backoff_state.astype(np.uint32) | backoff_codes << np.uint32(24),
        arcs=word.astype(np.uint32) | arc_codes << np.uint32(24),
        arc_states=arc_states,
        arc_ranks=np.cumsum(ranks, dtype=np.int32) - ranks,
        unigram=orders[0].log10_prob,
        unigram_next=sorted_orders.state_of[1].astype(np.int32),
        arc_values=arc_values,
        backoff_values=backoff_values,
    )


class _Sorted:
    """N-grams sorted by context and word, found again by binary search.

    ``keys[n]`` are those of order n, ``index of the context among order n - 1 * V + word``.
    ``state_of[n]`` is the state in which an n-gram is the context, 0 where it is that of none.
    """

    def __init__(self, orders: Sequence[NGrams], vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._order = len(orders)
        self._grams = {1: orders[0]}
        self._keys: dict[int, Ints] = {}
        for n in range(2, self._order + 1):
            grams = orders[n - 1]
            keys = self._key(grams.words.astype(np.int64))
            if (keys < 0).any():
                raise ModelError(f"the context of an n-gram of order {n} is missing")
            by_key = np.argsort(keys, kind="stable")
            self._keys[n] = keys[by_key]
            self._grams[n] = NGrams(
                grams.words[by_key], grams.log10_prob[by_key], grams.backoff[by_key]
            )
        self.state_of: dict[int, Ints] = {1: np.zeros(vocabulary, np.int64)}
        self._number_states()

    def _key(self, words: Ints) -> Ints:
        """Return the keys of n-grams ``words (N, n)``, n > 1; negative without a context."""
        context = words[:, 0]
        for n in range(2, words.shape[1]):
            found = self._find(n, context * self._vocabulary + words[:, n - 1])
            context = np.where(context < 0, -1, found)
        return np.where(context < 0, -1, context * self._vocabulary + words[:, -1])

    def _find(self, n: int, keys: Ints) -> Ints:
        """Return the index of each key among the n-grams of order n, -1 where it is none."""
        known = self._keys[n]
        if not len(known):
            return np.full(len(keys), -1)
        at = np.searchsorted(known, keys).clip(0, len(known) - 1)
        return np.where(known[at] == keys, at, -1)

    def _number_states(self) -> None:
        """Make states of the contexts that have arcs or a back-off to be paid."""
        states = 1
        for n in range(1, self._order):
            is_state = self._grams[n].backoff != 0
            is_state[self._keys[n + 1] // self._vocabulary] = True
            self.state_of[n] = np.where(is_state, states - 1 + np.cumsum(is_state), 0)
            states += int(is_state.sum())
        self._states = states

    def _suffix_state(self, words: Ints) -> Ints:
        """Return the state of the longest suffix of each n-gram ``(N, n)`` that is one."""
        found = np.zeros(len(words), np.int64)
        for n in range(1, min(words.shape[1], self._order - 1) + 1):
            suffix = words[:, words.shape[1] - n :]
            at = suffix[:, 0] if n == 1 else self._find(n, self._key(suffix))
            state = np.where(at < 0, 0, self.state_of[n][np.maximum(at, 0)])
            found = np.where(state > 0, state, found)
        return found

    def states(self) -> tuple[Ints, NDArray[np.float32], Ints]:
        """Return each state's first arc ``(S + 1,)``, back-off and back-off state ``(S,)``."""
        backoff = np.zeros(self._states, np.float32)
        backoff_state = np.zeros(self._states, np.int64)
        counts = np.zeros(self._states, np.int64)
        for n in range(1, self._order):
            state = self.state_of[n]
            used = state > 0
            backoff[state[used]] = self._grams[n].backoff[used]
            if n > 1:
                words = self._grams[n].words[used].astype(np.int64)
                backoff_state[state[used]] = self._suffix_state(words[:, 1:])
            context = self._keys[n + 1] // self._vocabulary
            counts += np.bincount(state[context], minlength=self._states)
        return np.concatenate([[0], np.cumsum(counts)]), backoff, backoff_state

    def arcs(self) -> tuple[Ints, NDArray[np.float32], NDArray[np.bool]]:
        """Return each arc's word, probability and whether it is a state, by state and word."""
        words, probs, states = [], [], []
        for n in range(2, self._order + 1):
            grams = self._grams[n]
            words.append(grams.words[:, -1].astype(np.int64))
            probs.append(grams.log10_prob)
            last = n == self._order
            states.append(np.zeros(len(grams.words), bool) if last else self.state_of[n] > 0)
        if not words:
            return np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, bool)
        return np.concatenate(words), np.concatenate(probs), np.concatenate(states)


def _quantise(
    values: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """Return 256 values and each element's nearest: equal shares, then Lloyd's rounds.

    Few different values are kept exactly.
    """
    distinct = np.unique(values)
    if len(distinct) <= _CODES:
        book = np.concatenate([distinct, np.zeros(_CODES - len(distinct), np.float32)])
        return book, np.searchsorted(distinct, values).astype(np.uint32)
    middles = (np.arange(_CODES) + 0.5) / _CODES
    book = np.unique(np.quantile(values, middles).astype(np.float32))
    for _ in range(8):
        codes = np.searchsorted((book[1:] + book[:-1]) / 2, values)
        counts = np.bincount(codes, minlength=len(book))
        sums = np.bincount(codes, values, len(book))
        book = np.where(counts > 0, sums / np.maximum(counts, 1), book).astype(np.float32)
    codes = np.searchsorted((book[1:] + book[:-1]) / 2, values)
    padding = np.zeros(_CODES - len(book), np.float32)
    return np.concatenate([book, padding], dtype=np.float32), codes.astype(np.uint32)
