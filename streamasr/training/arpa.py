"""n-gram models in ARPA files, as flat arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError

__all__ = ["WORD_BITS", "NgramModel", "Ngrams", "read_arpa", "write_arpa"]

WORD_BITS = 21
"""Bits of a word in an n-gram's key: at most two million words."""

_LINES = 500_000  # read and written at once


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
    """Read a model.

    Needs some 60 bytes an n-gram. Raises ConfigError for what is not an ARPA file, and where what
    an n-gram of more than one word begins or ends on is not in it: lmplz leaves none out.
    """
    with path.open("rb") as file:
        counts = _read_counts(file, path)
        words: tuple[str, ...] = ()
        ids: dict[bytes, int] = {}
        orders: list[Ngrams] = []
        for order, count in enumerate(counts, 1):
            if _next_line(file) != b"\\%d-grams:" % order:
                raise ConfigError(f"{path}: no {order}-grams where they should be")
            try:
                if order == 1:
                    words, unigrams = _read_unigrams(file, count)
                    orders.append(unigrams)
                    ids = {word.encode(): place for place, word in enumerate(words)}
                    continue
                rows = _read_rows(file, count, order, ids, highest=order == len(counts))
            except (LookupError, ValueError):
                raise ConfigError(
                    f"{path}: {order}-grams that cannot be read, are fewer than the file says, "
                    "or are of words that are no unigrams"
                ) from None
            orders.append(_linked(*rows, orders, path))
        if _next_line(file) != b"\\end\\":
            raise ConfigError(f"{path}: has more n-grams than it says, or no end")
    return NgramModel(words, tuple(orders))


def _next_line(file: BinaryIO) -> bytes:
    """Return the next line that is not blank, b"" at the end."""
    for line in file:
        if stripped := line.strip():
            return stripped
    return b""


def _read_counts(file: BinaryIO, path: Path) -> list[int]:
    """Return the number of n-grams of each order."""
    if _next_line(file) != b"\\data\\":
        raise ConfigError(f"{path}: not an ARPA file")
    counts: list[int] = []
    for line in file:
        if not line.strip():
            break
        name, _, count = line.partition(b"=")
        if name != b"ngram %d" % (len(counts) + 1) or not count.strip().isdigit():
            raise ConfigError(f"{path}: its head cannot be read: {line.strip()!r}")
        counts.append(int(count))
    if not counts or not all(counts):
        raise ConfigError(f"{path}: an order without n-grams")
    return counts


def _read_unigrams(file: BinaryIO, count: int) -> tuple[tuple[str, ...], Ngrams]:
    """Return the words and their n-grams; raises ValueError or LookupError."""
    rows = [line.split() for line in islice(file, count)]
    words = tuple(row[1].decode() for row in rows)
    if not len(set(words)) == count <= 1 << WORD_BITS:
        raise ValueError
    values = np.array([(float(row[0]), float((*row, b"0")[2])) for row in rows], np.float32)
    zeros = np.zeros(count, np.int64)
    return words, Ngrams(zeros, np.arange(count), zeros, values[:, 0], values[:, 1])


_Rows = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]


def _read_rows(
    file: BinaryIO, count: int, order: int, ids: dict[bytes, int], *, highest: bool
) -> _Rows:
    """Return ids ``(count, order)``, log-probabilities and back-offs.

    Raises ValueError or LookupError.
    """
    rows = np.empty((count, order), np.int32)
    log_prob, back_off = np.empty(count, np.float32), np.zeros(count, np.float32)
    start = 0
    while start < count:
        block = [*islice(file, min(count - start, _LINES))]
        part = slice(start, start + len(block))
        columns = _columns(block, order, highest)
        log_prob[part] = [*map(float, columns[0])]
        for place in range(order):
            rows[part, place] = [*map(ids.__getitem__, columns[place + 1])]
        if not highest:
            back_off[part] = [*map(float, columns[-1])]
        start = part.stop
    return rows, log_prob, back_off


def _columns(block: list[bytes], order: int, highest: bool) -> list[list[bytes]]:
    """Return probabilities, words and, but for the highest order, back-offs as columns."""
    width = order + 1 if highest else order + 2
    fields = b"".join(block).split()
    if not fields:
        raise ValueError
    if len(fields) != width * len(block):
        # SRILM leaves out a back-off of 0.
        rows = [line.split() for line in block]
        fields = [field for row in rows for field in (*row, *[b"0"] * (width - len(row)))]
        if len(fields) != width * len(block):
            raise ValueError
    return [fields[place::width] for place in range(width)]


def _linked(
    rows: NDArray[np.int32],
    log_prob: NDArray[np.float32],
    back_off: NDArray[np.float32],
    lower: Sequence[Ngrams],
    path: Path,
) -> Ngrams:
    """Return n-grams of ids ``rows (N, order)``, sorted, and linked with those one order below."""
    order = rows.shape[1]
    by_words = np.lexsort(rows.T[::-1])
    rows, log_prob, back_off = rows[by_words], log_prob[by_words], back_off[by_words]
    context, suffix = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    for place in range(1, order - 1):
        context = lower[place].find(context, rows[:, place].astype(np.int64))
        suffix = lower[place].find(suffix, rows[:, place + 1].astype(np.int64))
    word = rows[:, -1].astype(np.int64)
    missing = int((np.minimum(context, suffix) < 0).sum())
    if missing:
        raise ConfigError(
            f"{path}: {missing} {order}-grams begin or end with words that are no n-gram"
        )
    if (np.diff(context << WORD_BITS | word) == 0).any():
        raise ConfigError(f"{path}: has a {order}-gram twice")
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
