"""Probabilities of a pruned n-gram model, estimated anew from counts.

Kneser and Ney's lower orders are made to complement the n-grams above them: a word counts once for
each word that it follows. Where those n-grams are pruned, what they explained falls to the lower
order, which must count it in full (Siivola, Hirsimäki and Virpioja 2007).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .arpa import NgramModel, Ngrams
from .entropy_pruning import renormalized

__all__ = ["reestimated"]

_DISCOUNTS = (0.75, 1.1, 1.36)
"""Taken from counts of 1, of 2 and of more: about what lmplz finds in books, for every order."""

_Counts = Sequence[NDArray[np.int64]]
_Floats = NDArray[np.float64]


def reestimated(model: NgramModel, counts: _Counts, rounds: int = 2) -> NgramModel:
    """Return the model with new probabilities for just its n-grams.

    ``counts``: how often each occurs in the text, as ``ngram_counts`` returns. Unknown words have
    the probability of a word that was never seen. Each round begins with the probabilities of the
    one before.
    """
    ids = {word: place for place, word in enumerate(model.words)}
    left = _left_counts(model, counts)
    left[0][[ids["<s>"], ids["<unk>"]]] = 0
    for _ in range(rounds):
        scaled = [
            left[order] * _exposure_factors(model, counts, left, order)
            for order in range(len(left))
        ]
        prob = scaled[0] - _discounted(scaled[0])
        prob = (prob + (scaled[0].sum() - prob.sum()) / (len(prob) - 1)) / max(scaled[0].sum(), 1)
        orders: list[Ngrams] = []
        for order, ngrams in enumerate(model.orders):
            if order:
                unexplained = _unexplained(model, counts, order)
                prob = _probabilities(ngrams, prob, unexplained, scaled[order])
            log_prob = np.log10(prob).astype(np.float32)
            if not order:
                log_prob[ids["<s>"]] = ngrams.log_prob[ids["<s>"]]
            nothing = np.zeros(len(ngrams), np.float32)
            orders.append(Ngrams(ngrams.context, ngrams.word, ngrams.suffix, log_prob, nothing))
        model = renormalized(NgramModel(model.words, tuple(orders)))
    return model


def _discounted(counts: _Floats) -> _Floats:
    """Return what is taken from counts, of which the lower orders make fractions."""
    steps = np.select([counts < 1.5, counts < 2.5], _DISCOUNTS[:2], _DISCOUNTS[2])
    taken: _Floats = np.minimum(counts, steps)
    return taken


def _left_counts(model: NgramModel, counts: _Counts) -> list[_Floats]:
    """Return the counts that higher orders leave to each n-gram.

    All occurrences, less those that a longer n-gram of the model explains; its discount is left.
    """
    left = [found.astype(np.float64) for found in counts]
    for order in range(len(left) - 1, 0, -1):
        explained = counts[order] - _discounted(left[order])
        below = np.bincount(model.orders[order].suffix, explained, minlength=len(left[order - 1]))
        left[order - 1] = np.maximum(left[order - 1] - below, 0)
    return left


def _sums(places: NDArray[np.int64], values: _Floats, count: int) -> _Floats:
    return np.bincount(places, values, minlength=count).astype(np.float64)


def _unexplained(model: NgramModel, counts: _Counts, order: int) -> _Floats:
    """Return how often each history of an order's n-grams goes before none of them."""
    ngrams, histories = model.orders[order], model.orders[order - 1]
    explained = _sums(ngrams.context, counts[order].astype(np.float64), len(histories))
    # Nothing follows a sentence's end.
    ends = histories.word == model.words.index("</s>")
    return np.where(ends, 0, np.maximum(counts[order - 1] - explained, 0))


def _exposure_factors(
    model: NgramModel, counts: _Counts, left: Sequence[_Floats], order: int
) -> _Floats:
    """Return what to multiply an order's counts by for each to have the same chance to occur.

    A history backs off to words that it has no n-grams with. One that has many, such as "the",
    is left little by these; the more likely it is where it may come.
    """
    ngrams, size = model.orders[order], len(left[order])
    if order + 1 == len(model.orders):
        return np.ones(size)
    higher = model.orders[order + 1]
    prob = 10.0 ** ngrams.log_prob.astype(np.float64)
    backing_off = _unexplained(model, counts, order + 1)
    taken = _sums(higher.context, _discounted(left[order + 1]), size)
    # As if the words had been chosen from all, and those that cannot come left out.
    chances = backing_off / np.maximum(1 - _sums(higher.context, prob[higher.suffix], size), 1e-3)
    missed = _sums(higher.suffix, chances[higher.context], size)
    # The shorter history of each history; all unigrams share one.
    group = ngrams.suffix if order else np.zeros(size, np.int64)
    groups = len(left[order - 1]) if order else 1
    own = ngrams.context if order else np.zeros(size, np.int64)
    if order:
        events = _unexplained(model, counts, order) + _sums(own, left[order], groups)
    else:
        events = np.array([left[0].sum()])
    direct = np.maximum(events - _sums(group, backing_off + taken, groups), 0)
    total = direct + _sums(group, chances + taken, groups)
    factors: _Floats = total[own] / np.maximum(total[own] - missed, 1e-2 * total[own] + 1e-9)
    return factors


def _probabilities(
    ngrams: Ngrams, lower_prob: _Floats, unexplained: _Floats, counts: _Floats
) -> _Floats:
    """Return the probabilities of n-grams from those one order below.

    They are interpolated with as much of these as discounts leave. What pruned n-grams leave is
    for other words: it is in the back-off weights alone.
    """
    context, size = ngrams.context, len(unexplained)
    total = unexplained + _sums(context, counts, size)
    taken = _discounted(counts)
    share = _sums(context, taken, size)[context] * lower_prob[ngrams.suffix]
    prob: _Floats = (counts - taken + share) / np.maximum(total, 1e-9)[context]
    # None is impossible, not even one that longer n-grams explain wholly.
    return np.maximum(prob, 1e-9)
