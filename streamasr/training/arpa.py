"""n-gram models as flat arrays: read from ARPA files, with links between orders, and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..decoding.graph import arpa
from ..errors import ModelError

__all__ = ["WORD_BITS", "NgramModel", "Ngrams", "read_arpa", "write_arpa"]

WORD_BITS = 21
"""Bits of a word in an n-gram's key: at most two million words."""

_LINES = 500_000  # written at once


@dataclass(frozen=True, slots=True)
class Ngrams:
    """The N n-grams of one order, sorted by their words' ids.

    ``context``: index among the n-grams one order below, of all words but the last; ``word``: id of
    the last; ``suffix``: index one order below, of all words but the first. Of unigrams, context
    and suffix are 0 and the index is the id. ``log_prob`` and ``back_off`` are log10; the highest
    order's back-offs are 0.
    """

    context: NDArray[np.int64]
    word: NDArray[np.int64]
    suffix: NDArray[np.int64]
    log_prob: NDArray[np.float32]
    back_off: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.word)

    def find(self, context: NDArray[np.int64], word: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of each n-gram, -1 where there is none or ``context`` is -1."""
        keys = context << WORD_BITS | word
        known = self.context << WORD_BITS | self.word
        places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
        return np.where((known[places] == keys) & (context >= 0), places, -1)


@dataclass(frozen=True, slots=True)
class NgramModel:
    """A back-off model: ``orders[0]`` are the unigrams, in the order of ``words``."""

    words: tuple[str, ...]
    orders: tuple[Ngrams, ...]


def read_arpa(path: Path) -> NgramModel:
    """Read a model; needs some 80 bytes an n-gram.

    Raises ModelError for what is not an ARPA file, and where what an n-gram of more than one word
    begins or ends on is not in it: lmplz leaves none out.
    """
    words, found = arpa.read_arpa(path)
    if len(words) > 1 << WORD_BITS:
        raise ModelError(f"{path}: has more than {1 << WORD_BITS} words")
    orders: list[Ngrams] = []
    while found:
        ngrams = found.pop(0)  # so that only one is in memory twice
        if not len(ngrams.words):
            raise ModelError(f"{path}: an order without n-grams")
        if orders:
            orders.append(_linked(ngrams, orders, path))
        else:
            zeros = np.zeros(len(words), np.int64)
            ids = np.arange(len(words))
            orders.append(Ngrams(zeros, ids, zeros, ngrams.log10_prob, ngrams.backoff))
    return NgramModel(tuple(words), tuple(orders))


def _linked(ngrams: arpa.NGrams, lower: Sequence[Ngrams], path: Path) -> Ngrams:
    """Return n-grams sorted by their words, and linked with those one order below."""
    order = ngrams.words.shape[1]
    by_words = np.lexsort(ngrams.words.T[::-1])
    rows = ngrams.words[by_words]
    log_prob, back_off = ngrams.log10_prob[by_words], ngrams.backoff[by_words]
    context, suffix = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    for place in range(1, order - 1):
        context = lower[place].find(context, rows[:, place].astype(np.int64))
        suffix = lower[place].find(suffix, rows[:, place + 1].astype(np.int64))
    word = rows[:, -1].astype(np.int64)
    missing = int((np.minimum(context, suffix) < 0).sum())
    if missing:
        raise ModelError(
            f"{path}: {missing} {order}-grams begin or end with words that are no n-gram"
        )
    if (np.diff(context << WORD_BITS | word) == 0).any():
        raise ModelError(f"{path}: has a {order}-gram twice")
    return Ngrams(context, word, suffix, log_prob, back_off)


def write_arpa(model: NgramModel, path: Path) -> None:
    """Write a model."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        counts = (f"ngram {n}={len(ngrams)}\n" for n, ngrams in enumerate(model.orders, 1))
        file.write("\\data\\\n" + "".join(counts))
        for order, ngrams in enumerate(model.orders, 1):
            file.write(f"\n\\{order}-grams:\n")
            for start in range(0, len(ngrams), _LINES):
                file.write("".join(_lines(model, order, slice(start, start + _LINES))))
        file.write("\n\\end\\\n")
    partial.replace(path)


def _lines(model: NgramModel, order: int, part: slice) -> Iterator[str]:
    """Yield a part of an order's lines."""
    ngrams = model.orders[order - 1]
    context, columns = ngrams.context[part], [ngrams.word[part]]
    for lower in model.orders[order - 2 :: -1] if order > 1 else ():
        columns.append(lower.word[context])
        context = lower.context[context]
    texts = (
        " ".join(map(model.words.__getitem__, row)) for row in zip(*columns[::-1], strict=True)
    )
    log_probs = ngrams.log_prob[part].tolist()
    if order == len(model.orders):
        yield from (f"{p:.7g}\t{text}\n" for p, text in zip(log_probs, texts, strict=True))
        return
    back_offs = ngrams.back_off[part].tolist()
    for p, text, back_off in zip(log_probs, texts, back_offs, strict=True):
        yield f"{p:.7g}\t{text}\t{back_off:.7g}\n"
