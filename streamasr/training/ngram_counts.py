"""How often the n-grams of a model occur in a text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .arpa import WORD_BITS, NgramModel, Ngrams

__all__ = ["ngram_counts"]

_SENTENCES = 500_000  # counted at once


def ngram_counts(model: NgramModel, sentences: Iterable[str]) -> list[NDArray[np.int64]]:
    """Return for each order how often its n-grams occur, in the model's order.

    Sentences have ``<s>`` before and ``</s>`` behind them; words that the model lacks count as
    ``<unk>``. Raises ConfigError for a model without these three.
    """
    ids = {word: place for place, word in enumerate(model.words)}
    if missing := {"<s>", "</s>", "<unk>"} - ids.keys():
        raise ConfigError(f"the model has no unigram {min(missing)}")
    begin, unknown = ids["<s>"], ids["<unk>"]
    counts = [np.zeros(len(ngrams), np.int64) for ngrams in model.orders]
    rest = iter(sentences)
    while block := [*islice(rest, _SENTENCES)]:
        words = [word for line in block for word in ("<s>", *line.split(), "</s>")]
        read = np.fromiter((ids.get(word, unknown) for word in words), np.int64, len(words))
        counts[0] += np.bincount(read, minlength=len(counts[0]))
        place = read
        for order, ngrams in enumerate(model.orders[1:], 1):
            # One ends at every word but those too near a sentence's beginning.
            context = np.where(read[order:] == begin, -1, place[:-1])
            place = _found_in_order(ngrams, context, read[order:])
            counts[order] += np.bincount(place[place >= 0], minlength=len(ngrams))
    return counts


def _found_in_order(
    ngrams: Ngrams, context: NDArray[np.int64], word: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Do as ``Ngrams.find``, but look up in ascending order, which caches reward."""
    by_key = np.argsort(context << WORD_BITS | word)
    places = np.empty(len(word), np.int64)
    places[by_key] = ngrams.find(context[by_key], word[by_key])
    return places
