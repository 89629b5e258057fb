"""Pruning of an n-gram model by relative entropy (Stolcke 1998).

An n-gram is worth what the model would lose without it: the relative entropy between the two
models, as often as its history occurs. Counts, which lmplz prunes by, keep n-grams that are
frequent but that the shorter history predicts as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .arpa import WORD_BITS, NgramModel, Ngrams

__all__ = ["history_counts", "history_probabilities", "prune", "renormalized", "worths"]

_LN10 = float(np.log(10))
_SENTENCES = 500_000  # counted at once


def history_probabilities(model: NgramModel) -> list[NDArray[np.float64]]:
    """Return the probability of each n-gram below the highest order, by the model's own chain.

    Kneser-Ney's lower orders tell in how many contexts a word occurs, not how often, and the chain
    multiplies these: ``history_counts`` is better where the text is at hand (Chelba et al. 2010).
    """
    first = 10.0 ** model.orders[0].log_prob.astype(np.float64)
    ids = {word: place for place, word in enumerate(model.words)}
    if "<s>" in ids and "</s>" in ids:
        first[ids["<s>"]] = first[ids["</s>"]]  # as many sentences begin as end
    found = [first]
    for ngrams in model.orders[1:-1]:
        found.append(found[-1][ngrams.context] * 10.0 ** ngrams.log_prob.astype(np.float64))
    return found


def history_counts(model: NgramModel, sentences: Iterable[str]) -> list[NDArray[np.float64]]:
    """Return how often each n-gram below the highest order occurs, as a share of all words."""
    ids = {word: place for place, word in enumerate(model.words)}
    try:
        begin, end, unknown = ids["<s>"], ids["</s>"], ids["<unk>"]
    except KeyError as error:
        raise ConfigError(f"the model has no unigram {error.args[0]}") from None
    found = [np.zeros(len(ngrams)) for ngrams in model.orders[:-1]]
    total = 0
    rest = iter(sentences)
    while block := [*islice(rest, _SENTENCES)]:
        words = [word for line in block for word in ("<s>", *line.split(), "</s>")]
        read = np.fromiter((ids.get(word, unknown) for word in words), np.int64, len(words))
        total += len(read) - len(block)
        found[0] += np.bincount(read, minlength=len(found[0]))
        place = read
        for order, ngrams in enumerate(model.orders[1:-1], 1):
            # n-grams end at every word but those too near a sentence's beginning.
            context = np.where(read[order:] == begin, -1, place[:-1])
            place = _found_sorted(ngrams, context, read[order:])
            found[order] += np.bincount(place[place >= 0], minlength=len(ngrams))
    # Nothing follows an end.
    return [
        np.where(ngrams.word == end, 0, counts / max(1, total))
        for counts, ngrams in zip(found, model.orders, strict=False)
    ]


def _found_sorted(
    ngrams: Ngrams, context: NDArray[np.int64], word: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Do as ``Ngrams.find``, but look up in ascending order, which caches reward."""
    by_key = np.argsort(context << WORD_BITS | word)
    places = np.empty(len(word), np.int64)
    places[by_key] = ngrams.find(context[by_key], word[by_key])
    return places


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
