"""Pruning of an n-gram model by relative entropy (Stolcke 1998).

An n-gram is worth what the model would lose without it: the relative entropy between the two
models, as often as its history occurs. Counts, which lmplz prunes by, keep n-grams that are
frequent but that the shorter history predicts as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .arpa import NgramModel, Ngrams

__all__ = ["counted_histories", "history_probabilities", "prune", "renormalized", "worths"]

_LN10 = float(np.log(10))


def history_probabilities(model: NgramModel) -> list[NDArray[np.float64]]:
    """Return the probability of each n-gram below the highest order, by the model's own chain.

    Kneser-Ney's lower orders estimate in how many contexts a word occurs, not how often, and the
    chain multiplies these: ``counted_histories`` are better where there is a text (Chelba et al.
    2010).
    """
    first = 10.0 ** model.orders[0].log_prob.astype(np.float64)
    ids = {word: place for place, word in enumerate(model.words)}
    if "<s>" in ids and "</s>" in ids:
        first[ids["<s>"]] = first[ids["</s>"]]  # as many sentences begin as end
    found = [first]
    for ngrams in model.orders[1:-1]:
        found.append(found[-1][ngrams.context] * 10.0 ** ngrams.log_prob.astype(np.float64))
    return found


def counted_histories(
    model: NgramModel, counts: Sequence[NDArray[np.int64]]
) -> list[NDArray[np.float64]]:
    """Return the share of a text's words at which each n-gram below the highest order ends.

    ``counts``: what ``ngram_counts`` returns. Nothing follows a sentence's end.
    """
    ids = {word: place for place, word in enumerate(model.words)}
    total = max(1, int(counts[0].sum() - counts[0][ids["<s>"]]))
    return [
        np.where(ngrams.word == ids["</s>"], 0, found / total)
        for found, ngrams in zip(counts[:-1], model.orders, strict=False)
    ]


def worths(
    model: NgramModel, histories: Sequence[NDArray[np.float64]]
) -> list[NDArray[np.float64]]:
    """Return what each n-gram is worth, in nats a word; unigrams are worth infinitely much.

    ``histories``: probability of each n-gram below the highest order. An n-gram is worth at least
    as much as the longest that begins or ends on it, so that keeping all above a threshold keeps
    the model whole: histories of what is kept, and what is left of it with its first word gone.
    """
    found = [np.full(len(model.orders[0]), np.inf)]
    for lower, ngrams, history in zip(model.orders, model.orders[1:], histories, strict=False):
        found.append(_losses(lower, ngrams, history))
    for order in range(len(found) - 1, 1, -1):
        ngrams, below = model.orders[order], found[order - 1]
        np.maximum.at(below, ngrams.context, found[order])
        np.maximum.at(below, ngrams.suffix, found[order])
    return found


def _losses(lower: Ngrams, ngrams: Ngrams, history: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the relative entropy that removing each n-gram, and no other, brings."""
    context = ngrams.context
    log_prob = _LN10 * ngrams.log_prob.astype(np.float64)
    log_shorter = _LN10 * lower.log_prob[ngrams.suffix].astype(np.float64)
    prob, shorter = np.exp(log_prob), np.exp(log_shorter)
    # Probability of the words that back off, by the whole history and by the shorter one.
    rest = _rests(context, prob, len(lower))
    shorter_rest = _rests(context, shorter, len(lower))
    before = np.log(rest / shorter_rest)[context]
    after = np.log((rest[context] + prob) / (shorter_rest[context] + shorter))
    loss = prob * (log_prob - log_shorter - after) - rest[context] * (after - before)
    weighted: NDArray[np.float64] = history[context] * loss
    return weighted


def _rests(
    context: NDArray[np.int64], prob: NDArray[np.float64], count: int
) -> NDArray[np.float64]:
    """Return what the probabilities of each context leave to 1; rounding must not take all."""
    return np.maximum(1 - np.bincount(context, prob, minlength=count), 1e-6)


def prune(model: NgramModel, worths: Sequence[NDArray[np.float64]], threshold: float) -> NgramModel:
    """Return the model of n-grams worth more than ``threshold``, its back-offs made anew."""
    kept_orders: list[Ngrams] = []
    new = np.arange(len(model.orders[0]))  # index of each kept n-gram one order below
    for order, (ngrams, worth) in enumerate(zip(model.orders, worths, strict=True)):
        if not order:
            kept_orders.append(ngrams)
            continue
        kept = worth > threshold
        if not kept.any():
            break
        below, new = new, np.cumsum(kept) - 1
        kept_orders.append(
            Ngrams(
                below[ngrams.context[kept]],
                ngrams.word[kept],
                below[ngrams.suffix[kept]],
                ngrams.log_prob[kept],
                ngrams.back_off[kept],
            )
        )
    return renormalized(NgramModel(model.words, tuple(kept_orders)))


def renormalized(model: NgramModel) -> NgramModel:
    """Return the model with the back-offs that make each history's probabilities sum to 1."""
    orders = []
    for lower, ngrams in _pairs(model.orders):
        if ngrams is None:
            orders.append(_with_back_off(lower, np.zeros(len(lower))))
            continue
        prob = 10.0 ** ngrams.log_prob.astype(np.float64)
        shorter = 10.0 ** lower.log_prob[ngrams.suffix].astype(np.float64)
        rest = _rests(ngrams.context, prob, len(lower))
        back_off = np.log10(rest / _rests(ngrams.context, shorter, len(lower)))
        # A history without n-grams of its own is the shorter one.
        back_off[np.bincount(ngrams.context, minlength=len(lower)) == 0] = 0
        orders.append(_with_back_off(lower, back_off))
    return NgramModel(model.words, tuple(orders))


def _pairs(orders: Sequence[Ngrams]) -> Iterator[tuple[Ngrams, Ngrams | None]]:
    """Yield each order with the next higher one, the highest with None."""
    yield from zip(orders, [*orders[1:], None], strict=True)


def _with_back_off(ngrams: Ngrams, back_off: NDArray[np.float64]) -> Ngrams:
    return Ngrams(
        ngrams.context, ngrams.word, ngrams.suffix, ngrams.log_prob, back_off.astype(np.float32)
    )
